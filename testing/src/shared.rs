//! One stack for all cases that leave it as it was: starting a cluster takes longer than most cases.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use crate::settings::{Form, Settings};
use crate::stack::{Running, Stack};

/// The page of the shared stacks, as browsers say it.
pub const SHARED_ORIGIN: &str = "http://localhost:8080";

/// The stack that the tests running now share. It ends with the last of them, so that no process is left.
pub async fn shared(form: Form) -> Running {
    static EMBEDDED: Mutex<Weak<Stack>> = Mutex::const_new(Weak::new());
    static CLUSTER: Mutex<Weak<Stack>> = Mutex::const_new(Weak::new());
    let slot = match form {
        Form::Embedded => &EMBEDDED,
        Form::Cluster => &CLUSTER,
    };
    let mut slot = slot.lock().await;
    if let Some(stack) = slot.upgrade() {
        return Running(stack);
    }
    // The limit of a resume is below what one page of history holds, so that a gap is quickly made.
    let settings = Settings::default().set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 100);
    // Passkeys need a name.
    let settings = settings.set("SEALPOST__GATEWAY__PUBLIC_URL", SHARED_ORIGIN);
    // More than any test wants, so that there is a limit.
    let settings = settings.set("SEALPOST__RETENTION__DAYS", 3650);
    let settings = settings.set("SEALPOST__WORKERS__TIMERS__RETENTION_INTERVAL_MS", 500);
    // Receivers of webhooks are at 127.0.0.1; what is at other addresses of this machine stays closed.
    let settings = settings.set("SEALPOST__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.1/32");
    // What was not taken is tried again soon.
    let settings = settings.set("SEALPOST__WORKERS__WEBHOOKS__FIRST_DELAY_MS", 100);
    let settings = settings.set("SEALPOST__WORKERS__WEBHOOKS__MAX_DELAY_MS", 500);
    let settings = settings.set("SEALPOST__WORKERS__WEBHOOKS__INTERVAL_MS", 100);
    let settings = settings.set("SEALPOST__WORKERS__WEBHOOKS__SWEEP_MS", 1000);
    let running = Stack::start(form, settings).await;
    *slot = Arc::downgrade(&running.0);
    running
}
