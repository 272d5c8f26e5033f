//! `PATCH /conversations/{conversation_id}`

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, DbErr, SqlErr};
use sealpost_schema::entities::conversation;
use sealpost_schema::{
    Action, ConversationId, ConversationKind, EventBody, HistoryVisibility, LeastRole, Lifetimes, Problem, ProblemKind,
    PublicSettings, RightsChange, Role,
};
use sealpost_sealing::ConversationKey;
use serde::Deserialize;

use super::ConversationResponse;
use super::control::{Change, Locked, begin, commit, load_locked, not_dm};
use super::create::check_title;
use super::model::load_one;
use crate::auth::{Principal, username};
use crate::patch::Patch;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// What is left out stays as it is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateConversationRequest {
    /// The new title, 1 to 200 characters; `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    pub title: Patch<String>,
    /// The new least role of each action that gets one.
    #[serde(default)]
    pub rights: RightsChange,
    /// What those who are added from now on see of what was before. For those who are in, nothing changes.
    pub history: Option<HistoryVisibility>,
    /// Makes a channel public, so that everybody signed in can find it by this name and join: 3 to 32 letters a to z, digits, '.', '_'
    /// and '-', in clear. `null`: it is not public any more. Only owners may.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 3, max_length = 32, example = "harbour")]
    pub public_name: Patch<String>,
    /// Whether a public channel can be read live without an account. Only owners may.
    pub open_reading: Option<bool>,
    /// Messages that are sent from now on disappear so many seconds after they were sent; `null`: they stay. Of a dm too: both may set it.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 31_622_400, example = 86_400)]
    pub disappear_after_seconds: Patch<u32>,
    /// What messages say is destroyed when they are so many days old, **also what was sent before**; `null`: when the server says. Not more than
    /// the server's own limit.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_500, example = 365)]
    pub retention_days: Patch<u32>,
}

impl UpdateConversationRequest {
    /// Nothing but what can be set of a dm.
    fn fits_dm(&self) -> bool {
        let others = self.title != Patch::Keep || self.public_name != Patch::Keep || self.retention_days != Patch::Keep;
        !others
            && self.open_reading.is_none()
            && self.rights.is_empty()
            && self.history.is_none()
            && self.disappear_after_seconds != Patch::Keep
    }
}

/// Change the title and the settings of a conversation
///
/// Who may is itself a setting (`change_settings`, by default admins). Nobody can take or give a right that is above their own role; owners
/// can all. Of a dm there is only how long messages stay, which both may set.
#[utoipa::path(
    patch, path = "/conversations/{conversation_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = UpdateConversationRequest,
    responses(
        (status = 200, body = ConversationResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Another channel has the public name"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value that is not allowed, or a dm"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn update_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<UpdateConversationRequest>,
) -> ApiResult<Json<ConversationResponse>> {
    if let Patch::Set(title) = &request.title {
        check_title(title)?;
    }
    let me = principal.user_id;
    // Before the transaction: on SQLite it would wait for itself.
    let key = app.keys.newest(id).await.ok();
    let transaction = begin(&app).await?;
    let locked = load_locked(&transaction, id, me).await?;
    if locked.kind != ConversationKind::Dm || !request.fits_dm() {
        not_dm(locked.kind)?;
        locked.check(Action::ChangeSettings)?;
    }
    let mut row = <conversation::ActiveModel as Default>::default();
    let mut changes = Vec::new();
    if request.title != Patch::Keep {
        let change = Change::new(&app, id, me, EventBody::ConversationChanged { sealed_title: None });
        changes.push(set_title(&app, change, key, &request.title, &mut row)?);
    }
    if let Some(body) = set_settings(&app, &locked, request, &mut row)? {
        changes.push(Change::new(&app, id, me, body));
    }
    if !changes.is_empty() {
        row.id = Set(id.0);
        row.update(&transaction).await.map_err(|error| refused(&error))?;
    }
    for change in &changes {
        change.record(&transaction).await?;
    }
    commit(transaction).await?;
    for change in changes {
        change.publish(&app).await?;
    }
    load_one(&app, me, id).await.map(Json)
}

fn set_title(
    app: &App,
    mut change: Change,
    key: Option<Arc<ConversationKey>>,
    title: &Patch<String>,
    row: &mut conversation::ActiveModel,
) -> ApiResult<Change> {
    if let Patch::Set(title) = title {
        let key = key.ok_or_else(|| ApiError::internal(&"the conversation's key is not usable"))?;
        let sealed =
            app.keys.seal(&key, change.id, change.sender_id, title).map_err(|error| ApiError::internal(&error))?;
        change.body = EventBody::ConversationChanged { sealed_title: Some(sealed.clone()) };
        row.sealed_title = Set(Some(sealed));
    } else {
        row.sealed_title = Set(None);
    }
    row.title_event_id = Set(Some(change.id.0));
    row.title_sender_id = Set(Some(change.sender_id.0));
    Ok(change)
}

/// The event, if anything changes.
fn set_settings(
    app: &App,
    locked: &Locked,
    request: UpdateConversationRequest,
    row: &mut conversation::ActiveModel,
) -> ApiResult<Option<EventBody>> {
    let public = set_public(locked, &request, row)?;
    let lifetimes = set_lifetimes(app, locked, &request, row)?;
    let mut rights = request.rights;
    rights.retain(|action, least| locked.rights.least(*action) != *least);
    for (action, least) in &rights {
        check_right(locked, *action, *least)?;
    }
    if !rights.is_empty() {
        let mut all = locked.row.rights_change().map_err(|error| ApiError::internal(&error))?;
        all.extend(&rights);
        row.rights = Set(Some(serde_json::to_string(&all).map_err(|error| ApiError::internal(&error))?));
    }
    let history = request.history.filter(|history| history.as_str() != locked.row.history);
    if let Some(history) = history {
        row.history = Set(history.as_str().to_owned());
    }
    if rights.is_empty() && history.is_none() && public.is_none() && lifetimes.is_none() {
        return Ok(None);
    }
    Ok(Some(EventBody::SettingsChanged { rights, history, public, lifetimes }))
}

fn set_lifetimes(
    app: &App,
    locked: &Locked,
    request: &UpdateConversationRequest,
    row: &mut conversation::ActiveModel,
) -> ApiResult<Option<Lifetimes>> {
    let before = locked.row.lifetimes();
    let seconds = &request.disappear_after_seconds;
    let days = &request.retention_days;
    let after = Lifetimes {
        disappear_after_seconds: patched(
            "disappear_after_seconds",
            seconds,
            before.disappear_after_seconds,
            Lifetimes::DISAPPEAR_AFTER_SECONDS,
        )?,
        retention_days: patched("retention_days", days, before.retention_days, Lifetimes::RETENTION_DAYS)?,
    };
    if let (Patch::Set(days), Some(most)) = (days, app.retention_days)
        && *days > most
    {
        return Err(ApiError::invalid(format!(
            "This server keeps messages for {most} days: use that or less, or null."
        )));
    }
    if after == before {
        return Ok(None);
    }
    let column = |value: Option<u32>| Set(value.and_then(|value| i32::try_from(value).ok()));
    row.disappear_after = column(after.disappear_after_seconds);
    row.retention_days = column(after.retention_days);
    Ok(Some(after))
}

/// The value after the change, if it is within its bounds.
fn patched(name: &str, patch: &Patch<u32>, before: Option<u32>, bounds: RangeInclusive<u32>) -> ApiResult<Option<u32>> {
    match patch {
        Patch::Keep => Ok(before),
        Patch::Clear => Ok(None),
        Patch::Set(value) if bounds.contains(value) => Ok(Some(*value)),
        Patch::Set(value) => {
            let (least, most) = (bounds.start(), bounds.end());
            Err(ApiError::invalid(format!("{name} is {value}: use {least} to {most}, or null.")))
        }
    }
}

fn set_public(
    locked: &Locked,
    request: &UpdateConversationRequest,
    row: &mut conversation::ActiveModel,
) -> ApiResult<Option<PublicSettings>> {
    if request.public_name == Patch::Keep && request.open_reading.is_none() {
        return Ok(None);
    }
    if locked.kind != ConversationKind::Channel {
        return Err(ApiError::invalid("Only a channel can be public. Create one with `kind` `channel`."));
    }
    locked.check_owner()?;
    let before = PublicSettings { name: locked.row.public_name.clone(), open_reading: locked.row.open_reading };
    let name = match &request.public_name {
        Patch::Keep => before.name.clone(),
        Patch::Clear => None,
        Patch::Set(name) => {
            let rule = "A public name has 3 to 32 letters a to z, digits, '.', '_' and '-'.";
            Some(username::normalize(name).ok_or_else(|| ApiError::invalid(rule))?)
        }
    };
    if name.is_none() && request.open_reading == Some(true) {
        return Err(ApiError::invalid(
            "Only a public channel can be read without an account: give it a `public_name`.",
        ));
    }
    let open_reading = name.is_some() && request.open_reading.unwrap_or(before.open_reading);
    let after = PublicSettings { name, open_reading };
    if after == before {
        return Ok(None);
    }
    row.public_name = Set(after.name.clone());
    row.open_reading = Set(after.open_reading);
    Ok(Some(after))
}

/// The unique key of public names is the only one that a change can violate.
fn refused(error: &DbErr) -> ApiError {
    if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) {
        let detail = "Another channel has this public name. Choose another one.";
        return ApiError::new(ProblemKind::ChannelNameTaken, detail);
    }
    ApiError::store(error)
}

fn check_right(locked: &Locked, action: Action, least: LeastRole) -> ApiResult<()> {
    if action == Action::ChangeSettings && least == LeastRole::Nobody {
        return Err(ApiError::invalid("If nobody may change the settings, they stay for ever. Use `owner`."));
    }
    let reaches = |least: LeastRole| locked.role == Role::Owner || least.allows(locked.role);
    if reaches(locked.rights.least(action)) && reaches(least) {
        return Ok(());
    }
    let detail = format!("You are {} here: rights above your role are for those who have it to change.", locked.role);
    Err(ApiError::new(ProblemKind::Forbidden, detail))
}
