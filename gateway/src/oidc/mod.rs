//! Signing in with providers of OpenID Connect: authorisation code with PKCE, by discovery.
//!
//! Promised, and kept by `testing/tests/stacks/oidc.rs`:
//! - **Only issuer and subject say who somebody is.** An account here is linked by its owner, who is signed in and has given fresh proof; never
//!   because two mail addresses are alike. Strangers get an account only where the operator wants that.
//! - **An answer is good once, for ten minutes, in the browser that asked**, and only from the provider that was asked. A link that somebody
//!   else made signs nobody in.
//! - **A token counts if all of it is right**: signature by a published key, algorithm, issuer, audience, nonce, time.
//! - A provider that is away harms nobody else, and is asked again after a pause. Whoever has a second factor here needs it here as well.

mod accounts;
mod begin;
mod config;
mod finish;
mod http;
mod id_token;
mod identities;
mod on_its_way;
mod page;
mod provider;
mod providers;
pub mod ways_in;

pub use config::{OidcConfig, ProviderConfig, validate};
pub use page::page;
pub use providers::{Providers, ProvidersError};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(begin::list_providers))
        .routes(routes!(begin::begin_oidc))
        .routes(routes!(begin::link_oidc))
        .routes(routes!(finish::finish_oidc))
        .routes(routes!(identities::list_identities))
        .routes(routes!(identities::unlink_identity))
}
