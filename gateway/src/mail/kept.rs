//! Mails that waited when a gateway stopped, in the store until one takes them up. A crash loses what waits, a stop does not
//! (`mails_that_wait_at_a_stop_are_sent_after_it`).

use std::time::Duration;

use sea_orm::sea_query::{Order, Query};
use sea_orm::{ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};
use sealpost_schema::Timestamp;
use sealpost_schema::entities::kept_mail;
use uuid::Uuid;

use super::mailer::Job;

/// Taken up at once; the rest at the next look.
const MOST_TAKEN: u64 = 100;

/// In one statement.
const MOST_KEPT: usize = 1_000;

pub async fn keep(db: &DatabaseConnection, now: Timestamp, jobs: &[Job]) {
    for jobs in jobs.chunks(MOST_KEPT) {
        let rows = jobs.iter().map(|job| {
            // Plain enums of texts and ids always become JSON.
            let job = serde_json::to_string(job).unwrap_or_default();
            kept_mail::Model { id: Uuid::now_v7(), job, kept_at: now.millis() }.into_active_model()
        });
        let kept = kept_mail::Entity::insert_many(rows).exec_without_returning(db).await;
        let outcome = if kept.is_ok() { "kept" } else { "lost" };
        metrics::counter!("sealpost_mails_total", "outcome" => outcome).increment(jobs.len() as u64);
        if let Err(error) = kept {
            tracing::error!(%error, mails = jobs.len(), "mails that waited are lost: the store did not take them");
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
    let oldest = Query::select()
        .column(kept_mail::Column::Id)
        .from(kept_mail::Entity)
        .order_by(kept_mail::Column::Id, Order::Asc)
        .limit(MOST_TAKEN)
        .to_owned();
    let taken = kept_mail::Entity::delete_many().filter(kept_mail::Column::Id.in_subquery(oldest));
    let mut taken = taken.exec_with_returning(db).await?;
    taken.sort_unstable_by_key(|row| row.id);
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
