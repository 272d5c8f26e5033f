//! The texts.

use sealpost_schema::entities::mail_token::Purpose;

/// A mail, but for who it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: &'static str,
    pub text: String,
}

/// `base`: scheme and host of this server.
pub fn with_link(base: &str, to: &str, username: &str, purpose: Purpose, token: &str, minutes: u64) -> Mail {
    let (subject, what) = match purpose {
        Purpose::VerifyEmail => ("Confirm your address", "confirms that this address is yours"),
        Purpose::ResetPassword => ("A new password", "lets you choose a new password"),
        Purpose::MagicLink => ("Sign in", "signs you in"),
        Purpose::AddressInUse => return address_in_use(base, to, username),
    };
    let text = format!(
        "Hello {username},\n\nthis link {what}:\n\n{base}/mail#{purpose}={token}\n\n\
         It is good once, for {minutes} minutes. If you did not ask for it, do nothing:\nwithout the link nothing changes.\n",
        purpose = purpose.as_str(),
    );
    Mail { to: to.to_owned(), subject, text }
}

/// To the owner of an address that somebody gave for another account.
fn address_in_use(base: &str, to: &str, username: &str) -> Mail {
    let text = format!(
        "Hello {username},\n\nsomebody wanted to use this address for another account at\n{base}. It is the address of your account \
         already, so it was not\ngiven away. If that was you: sign in as {username}, or ask for a new password.\nIf not, do nothing.\n"
    );
    Mail { to: to.to_owned(), subject: "You have an account already", text }
}

pub fn password_changed(to: &str, username: &str) -> Mail {
    let text = format!(
        "Hello {username},\n\nthe password of your account was changed just now, and all other devices were\nsigned out. \
         If that was not you, ask for a new password at once.\n"
    );
    Mail { to: to.to_owned(), subject: "Your password was changed", text }
}

/// To the address that was in use before.
pub fn email_changed(to: &str, username: &str) -> Mail {
    let text = format!(
        "Hello {username},\n\nyour account has another mail address now. If that was not you, tell the\noperator of the server.\n"
    );
    Mail { to: to.to_owned(), subject: "Your mail address was changed", text }
}
