//! Mails that waited when a gateway stopped, in the store until one takes them up. A crash loses what waits, a stop does not
//! (`mails_that_wait_at_a_stop_are_sent_after_it`).

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, EntityTrait as _, IntoActiveModel as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::Timestamp;
use sealpost_schema::entities::kept_mail;
use uuid::Uuid;

use super::mailer::Job;

/// Taken up at once; the rest at the next look.
const MOST: u64 = 100;

pub async fn keep(db: &DatabaseConnection, now: Timestamp, jobs: &[Job]) {
    for job in jobs {
        // Plain enums of texts and ids always become JSON.
        let job = serde_json::to_string(job).unwrap_or_default();
        let row = kept_mail::Model { id: Uuid::now_v7(), job, kept_at: now.millis() };
        let kept = kept_mail::Entity::insert(row.into_active_model()).exec_without_returning(db).await;
        let outcome = if kept.is_ok() { "kept" } else { "lost" };
        metrics::counter!("sealpost_mails_total", "outcome" => outcome).increment(1);
        if let Err(error) = kept {
            tracing::error!(%error, "a mail that waited is lost: the store did not take it");
        }
    }
}

/// Takes kept mails out of the store, each for one gateway. Links that were asked for longer ago than they are good are not made any more.
pub async fn take(db: &DatabaseConnection, now: Timestamp, link_lifetime: Duration) -> Vec<Job> {
    match take_rows(db).await {
        Ok(rows) => rows.iter().filter_map(|row| job(row, now.minus(link_lifetime))).collect(),
        Err(error) => {
            tracing::warn!(%error, "kept mails cannot be looked for");
            Vec::new()
        }
    }
}

async fn take_rows(db: &DatabaseConnection) -> Result<Vec<kept_mail::Model>, DbErr> {
    let rows = kept_mail::Entity::find().order_by_asc(kept_mail::Column::Id).limit(MOST).all(db).await?;
    let mut taken = Vec::new();
    for row in rows {
        if kept_mail::Entity::delete_by_id(row.id).exec(db).await?.rows_affected == 1 {
            taken.push(row);
        }
    }
    Ok(taken)
}

fn job(row: &kept_mail::Model, too_old: Timestamp) -> Option<Job> {
    let job = serde_json::from_str(&row.job);
    let job = job.inspect_err(|error| tracing::error!(%error, "a kept mail cannot be read")).ok()?;
    let is_late = matches!(job, Job::Link { .. } | Job::Verify { .. }) && row.kept_at < too_old.millis();
    (!is_late).then_some(job)
}

#[cfg(test)]
mod tests {
    use sealpost_schema::UserId;
    use sealpost_schema::entities::mail_token::Purpose;
    use serde_json::json;

    use super::*;

    /// Rows of one release are read by the next.
    #[test]
    fn jobs_keep_their_form() {
        let user = UserId(Uuid::nil());
        let email = || "ada@example.org".to_owned();
        for (job, text) in [
            (
                Job::Link { email: email(), purpose: Purpose::ResetPassword },
                json!({ "kind": "link", "email": email(), "purpose": "reset_password" }),
            ),
            (Job::Verify { user, email: email() }, json!({ "kind": "verify", "user": user, "email": email() })),
            (Job::PasswordChanged { user }, json!({ "kind": "password_changed", "user": user })),
            (
                Job::EmailChanged { user, before: email() },
                json!({ "kind": "email_changed", "user": user, "before": email() }),
            ),
        ] {
            assert_eq!(serde_json::to_value(&job).unwrap(), text);
            assert_eq!(serde_json::from_value::<Job>(text).unwrap(), job);
        }
    }

    #[test]
    fn late_links_are_not_made_and_notices_are_sent() {
        let now = Timestamp::from_millis(1_000_000);
        let row =
            |job: &Job| kept_mail::Model { id: Uuid::nil(), job: serde_json::to_string(job).unwrap(), kept_at: 1 };
        let link = Job::Link { email: String::new(), purpose: Purpose::MagicLink };
        assert_eq!(job(&row(&link), now), None);
        assert_eq!(job(&row(&link), Timestamp::from_millis(0)), Some(link));
        let notice = Job::PasswordChanged { user: UserId(Uuid::nil()) };
        assert_eq!(job(&row(&notice), now), Some(notice));
    }
}
