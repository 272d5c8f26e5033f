use clap::ValueEnum;
use sealpost_testing::Form;

/// On which stacks a program runs, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stacks {
    Embedded,
    Cluster,
    Both,
}

impl Stacks {
    pub fn forms(self) -> &'static [Form] {
        match self {
            Self::Embedded => &[Form::Embedded],
            Self::Cluster => &[Form::Cluster],
            Self::Both => &[Form::Cluster, Form::Embedded],
        }
    }
}
