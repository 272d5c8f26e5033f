//! What a session is the session of.

use serde::{Deserialize, Serialize};

use crate::problem::{ApiError, ApiResult};

const MAX_NAME_CHARS: usize = 80;

/// Browsers are signed out after a shorter time without use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Browser,
    #[default]
    Device,
}

impl DeviceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Device => "device",
        }
    }

    /// As the database has it.
    pub fn parse(text: &str) -> Self {
        if text == "browser" { Self::Browser } else { Self::Device }
    }
}

/// How the device that signs in describes itself.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// 1 to 80 characters in one line, for the owner's list of sessions.
    #[schema(example = "Ada's laptop", min_length = 1, max_length = 80)]
    pub name: Option<String>,
    pub kind: DeviceKind,
}

impl Device {
    /// With the name as it is kept.
    pub fn checked(self) -> ApiResult<Self> {
        let name = self.name.map(|name| name.trim().to_owned());
        if let Some(name) = &name {
            let length = name.chars().count();
            if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
                return Err(ApiError::invalid(format!(
                    "The name of a device has 1 to {MAX_NAME_CHARS} characters, in one line; this one has {length}."
                )));
            }
        }
        Ok(Self { name, kind: self.kind })
    }
}
