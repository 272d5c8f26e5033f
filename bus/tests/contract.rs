//! The duties of `EventLog`, `DeadLetters` and `Live`, written once and held against both back ends.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "contract/backend.rs"]
mod backend;
#[path = "contract/consumers.rs"]
mod consumers;
#[path = "contract/crashes.rs"]
mod crashes;
#[path = "contract/embedded.rs"]
mod embedded;
#[path = "contract/jetstream.rs"]
mod jetstream;
#[path = "contract/live.rs"]
mod live;
#[path = "contract/logs.rs"]
mod logs;

/// One test per duty and back end.
macro_rules! duties {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::backend::limited(crate::$module::$name(crate::backend::Backend::embedded().await)).await;
            })*
        }
        mod on_jetstream {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::backend::limited(crate::$module::$name(crate::backend::Backend::jetstream().await)).await;
            })*
        }
    };
}

duties![
    logs::of_racing_appends_with_one_expectation_one_succeeds,
    logs::an_append_that_expects_the_wrong_position_is_a_conflict,
    logs::an_id_appended_again_answers_with_the_first_position,
    logs::a_repeated_compare_and_append_is_a_conflict,
    logs::last_next_and_get_find_what_was_just_appended,
    logs::a_record_that_is_too_large_is_refused,
    logs::the_state_counts_what_is_there,
    logs::records_survive_a_graceful_restart,
    logs::old_records_are_deleted_and_positions_are_not_used_again,
    consumers::a_consumer_gets_everything_once_and_in_order,
    consumers::a_batch_takes_what_is_there_and_does_not_wait_for_more,
    consumers::two_holders_of_a_name_share_the_records,
    consumers::a_record_that_was_put_back_comes_again_with_a_higher_attempt,
    consumers::an_unacked_record_comes_again,
    consumers::no_more_than_max_ack_pending_are_out_at_once,
    consumers::acked_records_stay_acked_after_a_graceful_restart,
    consumers::a_dropped_wait_loses_nothing,
    consumers::a_record_handed_out_too_often_becomes_a_dead_letter,
    consumers::a_dead_letter_is_listed_found_and_removed,
    consumers::a_consumer_opened_again_has_the_new_settings,
    consumers::the_consumer_state_counts_pending_and_unacked,
    crashes::every_acknowledged_append_survives_a_kill_under_load,
    crashes::unacked_records_come_again_after_a_kill,
    live::a_message_reaches_those_who_subscribed,
    live::wildcards_match_as_they_should,
    live::an_overflow_leaves_one_notice_and_then_goes_on,
    live::a_dropped_subscription_gets_nothing_more,
    live::messages_of_one_publisher_keep_their_order,
];
