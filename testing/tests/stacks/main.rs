//! The same cases on both stacks: what a client may rely on does not depend on how Sealpost is run.
//!
//! Cases share a running stack ([`sealpost_testing::shared`]) and keep apart by having users of their own; those in [`alone`] need a
//! stack of their own. After each case the event log must be worked off, with no dead letters.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

/// For cases that need stacks of their own: each starts one of the form that it is given.
macro_rules! on_stacks_of_their_own {
    ($($case:ident)*) => {
        mod embedded { on_stacks_of_their_own!(@form Embedded: $($case)*); }
        mod cluster { on_stacks_of_their_own!(@form Cluster: $($case)*); }
    };
    (@form $form:ident: $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            super::$case(sealpost_testing::Form::$form).await;
        })*
    };
}

mod accounts;
mod admin;
mod alone;
mod announcements;
mod bad_input;
mod changes;
mod channels;
mod conversations;
mod cookies;
mod disappearing;
mod edge;
mod export;
mod frames;
mod ids;
mod interleavings;
mod invites;
mod limits;
mod live;
mod mail;
mod membership;
mod messages;
mod names;
mod oidc;
mod operations;
mod own_state;
mod passkeys;
mod presence;
mod profiles;
mod protocol;
mod receipts;
mod resume;
mod retention;
mod role_table;
mod roles;
mod scheduled;
mod search;
mod second_factor;
mod security;
mod service_accounts;
mod sessions;
mod threads;
mod tokens;
mod tour;
mod webhooks;

macro_rules! on_both_stacks {
    ($($area:ident: $($case:ident)*;)*) => {
        mod embedded { on_both_stacks!(@form Embedded: $($area: $($case)*;)*); }
        mod cluster { on_both_stacks!(@form Cluster: $($area: $($case)*;)*); }
    };
    (@form $form:ident: $($area:ident: $($case:ident)*;)*) => {
        $(mod $area {
            $(#[tokio::test]
            async fn $case() {
                let stack = sealpost_testing::shared(sealpost_testing::Form::$form).await;
                crate::$area::$case(&stack).await;
                stack.settle().await;
            })*
        })*
    };
}

on_both_stacks! {
    tour:
        two_people_talk;
    conversations:
        two_dms_between_the_same_two_are_one
        racing_dms_are_one
        a_new_participant_sees_what_comes_on_an_open_socket
        a_removed_participant_gets_nothing_more
        attack_3_racing_messages_of_a_removed_participant_get_no_later_seq
        attack_3_two_hundred_sends_race_with_the_removal
        a_deleted_conversation_is_gone_for_everybody
        both_ends_read_one_order;
    messages:
        an_accepted_message_is_in_the_history_at_once
        fifty_sends_of_one_message_are_one_message
        a_used_client_message_id_is_not_taken_for_another_text
        a_deleted_message_shows_no_text
        pages_of_history_join_without_a_hole
        read_marks_only_rise;
    changes:
        an_edit_is_seen_by_everybody_and_makes_one_event
        a_deletion_takes_edits_and_reactions_along
        each_reaction_counts_once
        pins_are_listed_and_ended
        attack_1_a_foreign_message_is_like_none
        attack_2_rights_are_those_of_the_moment
        attack_2_who_was_removed_or_silenced_changes_nothing
        bounds_hold_however_many_add_at_once;
    interleavings:
        any_interleaving_ends_in_one_state_for_everybody;
    threads:
        a_quote_follows_edits_and_deletions
        threads_are_listed_followed_and_read
        mentions_are_resolved_listed_and_counted
        drafts_follow_their_user_and_nobody_else;
    export:
        an_owner_exports_a_conversation
        attack_4_an_export_begins_where_its_owner_joined
        a_user_exports_their_own_data;
    scheduled:
        a_message_is_sent_at_its_time
        what_waits_is_listed_changed_and_cancelled
        rights_count_when_a_scheduled_message_is_sent
        cancelling_races_with_sending
        only_so_many_wait;
    disappearing:
        what_has_disappeared_is_gone_everywhere
        a_change_counts_for_what_is_sent_after_it
        who_may_say_how_long_messages_stay
        a_scheduled_message_disappears_with_its_key;
    retention:
        what_is_too_old_goes_and_the_numbers_stay
        who_may_say_how_long_is_kept;
    membership:
        a_conversation_is_handed_over
        two_owners_cannot_both_go
        racing_changes_take_effect_in_one_order
        who_comes_back_sees_what_follows
        attack_4_what_came_before_joining_stays_hidden
        attack_4_changes_and_pins_show_nothing_from_before_joining;
    own_state:
        muting_and_archiving_are_shared_by_ones_own_devices
        a_hidden_conversation_comes_back_with_the_next_message
        who_is_blocked_learns_nothing;
    channels:
        a_public_channel_is_found_and_joined
        the_directory_is_paged
        an_open_channel_is_read_without_an_account
        readers_of_one_address_are_bounded;
    invites:
        a_link_lets_people_join_as_often_as_it_says
        a_link_is_as_good_as_the_one_who_made_it
        attack_20_a_bad_link_tells_nothing
        attack_22_the_last_use_of_a_link_is_used_once;
    search:
        words_beginnings_and_accents_are_found_in_every_script
        sender_time_link_and_conversation_narrow_it_down
        results_follow_edits_and_deletions
        attack_4_search_finds_nothing_from_before_joining
        nobody_finds_what_they_may_not_see
        an_api_token_searches_where_it_may
        pages_of_results_join_without_a_hole
        attack_28_hostile_queries_get_an_answer;
    role_table:
        each_operation_is_for_those_whom_the_table_names;
    roles:
        attack_1_what_you_may_not_see_is_not_found
        attack_1_every_route_and_frame_is_closed_to_strangers
        the_last_owner_stays
        rights_are_given_and_taken_for_each_conversation
        nobody_gives_themselves_a_right;
    ids:
        attack_23_a_guessed_or_odd_id_leads_nowhere
        attack_28_ids_are_no_subjects_and_no_sql
        attack_28_fields_that_nobody_may_set_are_refused
        attack_28_logs_cannot_be_forged;
    bad_input:
        each_mistake_over_rest_has_its_own_problem
        each_mistake_over_the_socket_has_its_own_problem
        a_seq_out_of_range_is_refused_everywhere
        hostile_bodies_get_an_answer
        hostile_frames_get_an_error_or_a_close;
    security:
        tokens_are_checked_everywhere
        attack_9_a_token_in_the_address_is_refused
        attack_9_foreign_origins_are_refused
        three_ways_to_authenticate_a_socket
        a_silent_connection_is_closed
        signing_out_closes_the_sockets_of_that_session_only
        refresh_tokens_are_good_for_one_successor;
    sessions:
        attack_5_an_ended_session_hears_and_does_nothing_more
        my_sessions_are_listed_and_ended
        sessions_end_when_they_are_idle_and_when_they_are_old
        the_sessions_of_others_are_not_found
        a_token_of_another_session_does_not_prolong_a_socket
        attack_7_forty_refreshes_leave_one_live_chain;
    tokens:
        attack_8_every_route_refuses_every_bad_token
        another_users_token_reaches_nothing;
    service_accounts:
        two_applications_talk_with_each_other_and_with_people
        an_api_token_may_no_more_than_it_says
        a_token_that_is_withdrawn_is_out_everywhere
        owners_give_tokens_for_what_they_own;
    webhooks:
        events_arrive_signed_and_in_order
        a_receiver_that_was_away_gets_everything
        a_webhook_is_paused_replayed_and_tested
        attack_25_webhooks_reach_no_closed_network
        a_removed_service_account_is_told_nothing_more
        webhooks_are_managed_by_those_who_may;
    accounts:
        signing_in_with_the_email_is_the_same
        attack_20_nothing_tells_whether_an_account_is_there
        people_are_found_by_the_beginning_of_their_names
        passwords_that_are_easy_to_guess_are_refused
        anybody_can_check_a_token_with_the_public_keys;
    admin:
        attack_5_a_disabled_user_is_out_everywhere
        the_operator_acts_next_to_a_running_server
        only_admins_administer
        invitations_are_made_listed_and_withdrawn
        the_audit_log_says_who_did_what_and_holds_no_secret
        what_was_recorded_cannot_be_changed;
    receipts:
        everybody_sees_how_far_the_others_have_got
        who_wants_no_read_receipts_shows_none
        in_a_crowd_there_are_counts
        a_watermark_that_nobody_may_set_is_refused
        attack_27_watermarks_and_signs_are_ones_own_and_where_one_is;
    presence:
        who_looks_sees_who_comes_and_goes
        the_strongest_word_of_all_devices_counts
        typing_is_told_to_those_who_look
        a_removed_participant_is_seen_no_more_and_sees_nothing;
    live:
        a_slow_reader_is_closed_and_comes_back_to_everything
        who_connects_amid_messages_misses_nothing
        who_connects_while_the_last_one_leaves_is_let_in;
    resume:
        a_resume_brings_exactly_what_was_missed
        a_cursor_in_the_first_frame_resumes
        beyond_the_limit_a_gap_frame_says_what_is_left_out
        a_cursor_beyond_the_end_is_taken_back;
    cookies:
        a_browser_keeps_its_session_in_cookies
        attack_10_other_sites_cannot_use_the_cookies;
    second_factor:
        a_sign_in_with_codes_has_two_steps
        guessing_codes_is_slow_and_harms_nobody_else
        a_challenge_ends_with_the_password;
    passkeys:
        a_passkey_signs_in_without_a_name
        a_passkey_is_a_second_factor_with_recovery_codes
        what_was_begun_with_a_passkey_is_good_once
        a_copied_passkey_is_refused_and_recorded
        attack_20_nobody_learns_who_has_passkeys
        an_old_session_alone_adds_no_passkey;
    edge:
        browsers_are_told_what_they_may_do;
    profiles:
        a_profile_is_changed_and_seen_at_every_gateway
        what_a_profile_cannot_say_is_refused
        a_picture_is_made_anew_and_served_at_every_gateway
        attack_23_only_our_own_pictures_are_served
        attack_24_bombs_harm_nobody
        uploads_at_once_leave_one_picture;
    operations:
        the_operators_pages_answer;
}
