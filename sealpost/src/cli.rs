//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use sealpost_schema::ConversationId;

use crate::config::Role;

/// Sealpost: an encrypted, real-time, durable messaging server.
///
/// Without a command it serves everything from one process and keeps its data in ./data. Settings come from a TOML file and from
/// environment variables such as `SEALPOST__GATEWAY__LISTEN`; `sealpost config show` prints all of them.
#[derive(Debug, Parser)]
#[command(name = "sealpost", version)]
pub struct Cli {
    /// Configuration file [default: ./sealpost.toml, if it exists]
    #[arg(long, global = true, env = "SEALPOST_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process, without other services (the default)
    Serve,
    /// Run a gateway of a cluster: REST and WebSocket
    Gateway,
    /// Run a worker of a cluster
    Worker { kind: WorkerKind },
    /// Bring the cluster's database up to date; waits for the database
    Migrate {
        /// Only print what is pending; exit code 1 if something is
        #[arg(long)]
        check: bool,
    },
    /// Look at what the workers could not process, and decide about it
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Manage accounts without signing in, next to a running server or on a cluster's database
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Make the search index anew, or empty it, next to a running server or on a cluster's database
    Search {
        #[command(subcommand)]
        command: SearchCommand,
    },
    /// Make keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Write the API description: openapi.json (REST) and websocket.json (AsyncAPI)
    Openapi {
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Write nothing; exit code 1 if the folder's files differ
        #[arg(long)]
        check: bool,
    },
    /// Ask a running server whether it is alive; the exit code is the answer
    Healthcheck {
        /// Address to ask [default: /healthz at the address of `gateway.listen`]
        #[arg(long)]
        url: Option<String>,
    },
    /// Check or print the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkerKind {
    /// Writes events to the database
    Persistence,
    /// Pushes events to the gateways, and to webhooks
    Delivery,
    /// Publishes control changes that were committed to the database
    Outbox,
    /// Does what is due: sends scheduled messages, destroys what has disappeared or is too old
    Timers,
}

#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// Print all, oldest first
    List,
    /// Print one: its reason, and the ids, kinds and numbers of its events
    Show { number: u64 },
    /// Do here what its worker could not do, and remove it if that works
    Replay { number: u64 },
    /// Delete it for good
    Drop { number: u64 },
}

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Make an account that administers this server; prints a new password, or takes one
    Create {
        username: String,
        #[arg(long)]
        email: Option<String>,
        /// An ordinary user
        #[arg(long)]
        user: bool,
        /// Take the password from the first line of the standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let a user administer this server
    Promote { username: String },
    /// Take that right away
    Demote { username: String },
    /// End all sessions of a user, who cannot sign in any more
    Disable { username: String },
    /// Let a disabled user sign in again
    Enable { username: String },
    /// Give a user a new password and end all their sessions; prints it, or takes one
    ResetPassword {
        username: String,
        /// Take the password from the first line of the standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum SearchCommand {
    /// Look at every stored message, and index those that the index lacks or has wrong; progress goes to the standard error
    Rebuild {
        /// Only the conversation with this id
        #[arg(long, value_name = "ID")]
        conversation: Option<ConversationId>,
        /// Without rests: for a server that is stopped, or a database that has nothing else to do
        #[arg(long)]
        fast: bool,
    },
    /// Take everything out of the index
    Drop,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print a new `FERNET_KEYS`, `SIGNING_KEY` and `WEBHOOK_KEY`, ready for a .env file
    Generate,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake at once
    Check {
        /// Also check that what this command needs is there
        #[arg(long = "for", value_name = "COMMAND")]
        role: Option<Role>,
    },
    /// Print every setting with its value and where it comes from, without secrets
    Show,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
