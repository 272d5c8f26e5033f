//! Keeps the promises of `sealpost_workers::persistence`, on SQLite and on Postgres.

use crate::harness::{
    Log, World, covered, deletion, event, eventually, message, message_named, next_live, notices, on_both_stores, quick,
};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, PaginatorTrait};
use sealpost_schema::entities::{conversation_key, outbox, participant};
use sealpost_schema::{
    ConversationId, Event, EventBody, EventId, MessageId, Role, Seq, StoredNotice, StoredRange, UserId, VoidedEvent,
    chat_subject,
};
use sealpost_workers::persistence::{CONSUMER, PersistenceConfig};

on_both_stores! {
    a_batch_is_stored_and_announced
    replaying_all_records_changes_nothing_and_still_announces
    out_of_order_and_repeated_delivery_to_two_workers_ends_in_the_same_table
    the_second_use_of_a_client_message_id_becomes_void_and_names_the_original
    an_event_appended_under_two_seqs_is_stored_once_and_void_once
    a_seq_clash_goes_to_the_dead_letters_and_the_first_event_stays
    an_id_of_another_conversation_becomes_void_and_a_dead_letter
    a_garbage_record_goes_to_the_dead_letters_and_its_neighbours_are_stored
    a_record_under_a_forged_subject_goes_to_the_dead_letters
    a_deletion_before_its_message_is_put_back_and_applied_later
    a_deletion_whose_message_never_comes_goes_to_the_dead_letters
    a_deletion_destroys_the_sealed_text
    of_two_deletions_the_first_counts_in_either_order
    deleting_a_conversation_destroys_its_keys
    whoever_came_back_sees_what_is_after_coming_back
    an_outbox_row_goes_when_its_event_is_stored
    a_database_that_is_away_is_waited_for
    a_worker_stops_while_the_database_is_away
}

async fn a_batch_is_stored_and_announced(world: World) {
    let mut live = world.log.subscribe(StoredNotice::SUBJECT).await;
    let (one, other) = (ConversationId::new(), ConversationId::new());
    let events: Vec<Event> = (1..=300).map(|seq| message(one, seq)).collect();
    for record in events.chunks(7) {
        world.log.append(record).await;
    }
    let removal = event(other, 1, EventBody::ParticipantRemoved { user_id: UserId::new() });
    world.log.append(std::slice::from_ref(&removal)).await;

    let worker = world.persistence();
    let notice = notices(&mut live, |all| covered(all) >= 301).await;
    assert!(notice.voided.is_empty());
    assert_eq!(notice.stored.len(), 44, "the events of a record are one range: {:?}", notice.stored);
    world.log.drained(CONSUMER).await;
    worker.stop().await;

    let table = world.table().await;
    assert_eq!(table.len(), 301);
    for row in &table {
        let stored = row.to_event().unwrap();
        let sent = events.iter().chain([&removal]).find(|event| event.id == stored.id).unwrap();
        assert_eq!(&stored, sent);
    }
    assert!(world.log.dead_letters().await.is_empty());
}

async fn replaying_all_records_changes_nothing_and_still_announces(world: World) {
    let conversation = ConversationId::new();
    let posted: Vec<Event> = (1..=120).map(|seq| message(conversation, seq)).collect();
    let deleted = deletion(121, &posted[3]);
    let again = message_named(conversation, 122, "m-1");
    let records = [&posted[..], &[deleted], &[again]];
    for record in records {
        world.log.append(record).await;
    }
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    let before = world.table().await;
    assert_eq!(before.len(), 122);

    let replayed = Log::new();
    let mut live = replayed.subscribe(StoredNotice::SUBJECT).await;
    for record in records.into_iter().rev().chain(records) {
        replayed.append(record).await;
    }
    let worker = world.persistence_on(&replayed, PersistenceConfig { max_records: 2, ..quick() });
    let notice = notices(&mut live, |all| covered(all) >= 121 && !all.voided.is_empty()).await;
    replayed.drained(CONSUMER).await;
    worker.stop().await;
    assert_eq!(world.table().await, before);
    assert_eq!(notice.voided[0].original_id, MessageId::from(posted[0].id));
    assert!(replayed.dead_letters().await.is_empty());
}

async fn out_of_order_and_repeated_delivery_to_two_workers_ends_in_the_same_table(world: World) {
    let conversations: Vec<ConversationId> = (0..5).map(|_| ConversationId::new()).collect();
    let mut records: Vec<Vec<Event>> = Vec::new();
    for &conversation in &conversations {
        let mut events: Vec<Event> = (1..=90).map(|seq| message(conversation, seq)).collect();
        for seq in 91..=100 {
            events.push(deletion(seq, &events[usize::try_from(seq).unwrap() - 60]));
        }
        records.extend(events.chunks(4).map(<[Event]>::to_vec));
    }
    // Any fixed mixture will do; deletions come before their messages in it, too.
    let count = records.len();
    for index in 0..count * 3 {
        world.log.append(&records[index * 37 % count]).await;
    }
    let config = PersistenceConfig { max_records: 9, max_events: 20, ..quick() };
    let workers = [world.persistence_on(&world.log, config.clone()), world.persistence_on(&world.log, config)];
    world.log.drained(CONSUMER).await;
    for worker in workers {
        worker.stop().await;
    }

    let table = world.table().await;
    assert_eq!(table.len(), 500);
    let mut sent: Vec<&Event> = records.iter().flatten().collect();
    sent.sort_by_key(|event| (event.conversation_id, event.seq));
    for (row, sent) in table.iter().zip(sent) {
        assert_eq!((row.conversation_id, Seq::from_db(row.seq), row.id), (sent.conversation_id.0, sent.seq, sent.id.0));
        let deleted = (32..=41).contains(&row.seq);
        assert_eq!(row.sealed.is_none(), deleted || row.kind == "message_deleted", "{row:?}");
        assert_eq!(row.deleted_seq, deleted.then_some(row.seq + 59), "{row:?}");
    }
    assert!(world.log.dead_letters().await.is_empty());
}

async fn the_second_use_of_a_client_message_id_becomes_void_and_names_the_original(world: World) {
    let mut live = world.log.subscribe(StoredNotice::SUBJECT).await;
    let conversation = ConversationId::new();
    let first = message_named(conversation, 1, "same");
    let second = message_named(conversation, 2, "same");
    let third = message(conversation, 3);
    let worker = world.persistence();
    world.log.append(std::slice::from_ref(&first)).await;
    world.log.append(&[second.clone(), third]).await;
    let notice = notices(&mut live, |all| covered(all) >= 2 && !all.voided.is_empty()).await;
    worker.stop().await;

    let (id, seq) = (second.id, Seq(2));
    let original_id = MessageId::from(first.id);
    let expected = VoidedEvent { conversation_id: conversation, seq, id, original_id, original_seq: Seq(1) };
    assert_eq!(notice.voided, [expected]);
    assert!(!notice.stored.iter().any(|range| range.first <= seq && seq <= range.last), "void is not «stored»");
    let row = world.row(&second).await.unwrap();
    assert_eq!(row.to_event().unwrap().body, EventBody::Void { original_id: Some(original_id) });
    assert_eq!((row.id, row.sealed), (second.id.0, None));
    assert_eq!(world.table().await.len(), 3, "no gap");
    assert!(world.log.dead_letters().await.is_empty());
}

async fn an_event_appended_under_two_seqs_is_stored_once_and_void_once(world: World) {
    let conversation = ConversationId::new();
    let first = event(conversation, 1, EventBody::ParticipantRemoved { user_id: UserId::new() });
    let again = Event { seq: Seq(2), ..first.clone() };
    for round in 1..=2 {
        let log = Log::new();
        let mut live = log.subscribe(StoredNotice::SUBJECT).await;
        log.append(&[first.clone(), again.clone()]).await;
        let worker = world.persistence_on(&log, quick());
        let notice = notices(&mut live, |all| covered(all) == 1 && all.voided.len() == 1).await;
        worker.stop().await;
        assert_eq!((notice.voided[0].seq, notice.voided[0].original_seq), (Seq(2), Seq(1)), "round {round}");
        assert!(log.dead_letters().await.is_empty());
    }
    let table = world.table().await;
    assert_eq!(table.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["participant_removed", "void"]);
}

async fn a_seq_clash_goes_to_the_dead_letters_and_the_first_event_stays(world: World) {
    let mut live = world.log.subscribe(StoredNotice::SUBJECT).await;
    let conversation = ConversationId::new();
    let first = message_named(conversation, 1, "first");
    let rival = message_named(conversation, 1, "rival");
    let neighbour = message(conversation, 2);
    let worker = world.persistence();
    world.log.append(std::slice::from_ref(&first)).await;
    notices(&mut live, |all| covered(all) == 1).await;
    world.log.append(&[rival, neighbour.clone()]).await;
    let notice = notices(&mut live, |all| covered(all) >= 1).await;
    world.log.drained(CONSUMER).await;
    worker.stop().await;

    let range = StoredRange {
        conversation_id: conversation,
        first: Seq(2),
        last: Seq(2),
        ids: StoredRange::fingerprint([neighbour.id]),
    };
    assert_eq!(notice.stored, [range], "the place of the clash is not announced again");
    assert_eq!(world.row(&first).await.unwrap().to_event().unwrap(), first);
    assert!(world.row(&neighbour).await.is_some());
    let letters = world.log.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.starts_with("seq clash"), "{}", letters[0].reason);
}

async fn an_id_of_another_conversation_becomes_void_and_a_dead_letter(world: World) {
    let victim = message(ConversationId::new(), 1);
    let conversation = ConversationId::new();
    let thief = Event { id: victim.id, ..message(conversation, 1) };
    let worker = world.persistence();
    world.log.append(std::slice::from_ref(&victim)).await;
    world.log.drained(CONSUMER).await;
    world.log.append(&[thief.clone(), message(conversation, 2)]).await;
    world.log.drained(CONSUMER).await;
    worker.stop().await;

    assert_eq!(world.row(&victim).await.unwrap().to_event().unwrap(), victim);
    assert_eq!(world.row(&thief).await.unwrap().kind, "void");
    assert_eq!(world.table().await.len(), 3);
    let letters = world.log.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.starts_with("id clash"), "{}", letters[0].reason);
}

async fn a_garbage_record_goes_to_the_dead_letters_and_its_neighbours_are_stored(world: World) {
    let conversation = ConversationId::new();
    world.log.append(&[message(conversation, 1)]).await;
    for garbage in ["{\"v\":", "{\"v\":9,\"previous\":0,\"first\":2,\"last\":2,\"events\":[]}", "\u{0}"] {
        world.log.append_raw(&chat_subject(conversation), garbage).await;
    }
    world.log.append(&[message(conversation, 2)]).await;
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;

    assert_eq!(world.table().await.len(), 2);
    let letters = world.log.dead_letters().await;
    assert_eq!(letters.len(), 3);
    assert!(letters[1].reason.contains("version 9"), "{}", letters[1].reason);
}

async fn a_record_under_a_forged_subject_goes_to_the_dead_letters(world: World) {
    let (own, foreign) = (ConversationId::new(), ConversationId::new());
    let record = sealpost_schema::EventRecord::new(0, vec![message(foreign, 1).into()]).unwrap();
    world.log.append_raw(&chat_subject(own), record.encode()).await;
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;

    assert!(world.table().await.is_empty());
    let letters = world.log.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.starts_with("forged subject"), "{}", letters[0].reason);
}

async fn a_deletion_before_its_message_is_put_back_and_applied_later(world: World) {
    let mut live = world.log.subscribe(StoredNotice::SUBJECT).await;
    let conversation = ConversationId::new();
    let target = message(conversation, 1);
    let deleted = deletion(2, &target);
    let worker = world.persistence();
    let neighbour = message(conversation, 3);
    world.log.append(&[deleted.clone(), neighbour.clone()]).await;
    let notice = notices(&mut live, |all| covered(all) >= 1).await;
    let range = StoredRange {
        conversation_id: conversation,
        first: Seq(3),
        last: Seq(3),
        ids: StoredRange::fingerprint([neighbour.id]),
    };
    assert_eq!(notice.stored[0], range, "its neighbour is stored, itself is not");
    assert!(world.row(&deleted).await.is_none());

    world.log.append(std::slice::from_ref(&target)).await;
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    let row = world.row(&target).await.unwrap();
    assert_eq!((row.sealed, row.deleted_seq), (None, Some(2)));
    assert!(world.row(&deleted).await.is_some());
    assert!(world.log.dead_letters().await.is_empty());
}

async fn a_deletion_whose_message_never_comes_goes_to_the_dead_letters(world: World) {
    let conversation = ConversationId::new();
    world.log.append(&[deletion(2, &message(conversation, 1))]).await;
    let worker = world.persistence_on(&world.log, PersistenceConfig { max_attempts: 3, ..quick() });
    eventually("there is a dead letter", async || !world.log.dead_letters().await.is_empty()).await;
    worker.stop().await;
    let letters = world.log.dead_letters().await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 3));
    assert!(letters[0].reason.contains("not in the store"), "{}", letters[0].reason);
    assert!(world.table().await.is_empty());
}

async fn a_deletion_destroys_the_sealed_text(world: World) {
    let conversation = ConversationId::new();
    let events = [message(conversation, 1), message(conversation, 2)];
    let deleted = deletion(3, &events[0]);
    world.log.append(&[events[0].clone(), events[1].clone(), deleted]).await;
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    let row = world.row(&events[0]).await.unwrap();
    assert!(row.is_deleted_message());
    assert_eq!(row.deleted_seq, Some(3));
    assert!(world.row(&events[1]).await.unwrap().sealed.is_some());
}

async fn of_two_deletions_the_first_counts_in_either_order(world: World) {
    for order in [[2, 3], [3, 2]] {
        let target = message(ConversationId::new(), 1);
        let worker = world.persistence();
        world.log.append(std::slice::from_ref(&target)).await;
        for seq in order {
            world.log.append(&[deletion(seq, &target)]).await;
            world.log.drained(CONSUMER).await;
        }
        worker.stop().await;
        assert_eq!(world.row(&target).await.unwrap().deleted_seq, Some(2), "{order:?}");
    }
}

async fn deleting_a_conversation_destroys_its_keys(world: World) {
    let (doomed, kept) = (ConversationId::new(), ConversationId::new());
    for (conversation, generation) in [(doomed, 1), (doomed, 2), (kept, 1)] {
        let key = conversation_key::ActiveModel {
            conversation_id: Set(conversation.0),
            generation: Set(generation),
            wrapped: Set("wrapped".to_owned()),
            created_at: Set(0),
            ..Default::default()
        };
        conversation_key::Entity::insert(key).exec_without_returning(&world.db).await.unwrap();
    }
    world.log.append(&[event(doomed, 1, EventBody::ConversationDeleted)]).await;
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    let keys = conversation_key::Entity::find().all(&world.db).await.unwrap();
    assert_eq!(keys.iter().map(|key| key.conversation_id).collect::<Vec<_>>(), [kept.0]);
}

/// In any order, and any number of times.
async fn whoever_came_back_sees_what_is_after_coming_back(world: World) {
    let (conversation, user) = (ConversationId::new(), UserId::new());
    let added = |seq| event(conversation, seq, EventBody::ParticipantAdded { user_id: user, role: Role::Member });
    let (first, removed) = (added(1), event(conversation, 2, EventBody::ParticipantRemoved { user_id: user }));
    let (back, role) = (added(3), added(4));
    let row = participant::ActiveModel {
        conversation_id: Set(conversation.0),
        user_id: Set(user.0),
        role: Set("member".to_owned()),
        added_at: Set(0),
        read_seq: Set(0),
        delivered_seq: Set(0),
        visible_from: Set(participant::NOT_YET),
        added_event_id: Set(Some(back.id.0)),
        ..Default::default()
    };
    row.insert(&world.db).await.unwrap();
    let visible_from = async || {
        let row = participant::Entity::find_by_id((conversation.0, user.0)).one(&world.db).await.unwrap();
        row.unwrap().visible_from
    };
    let worker = world.persistence();
    for (event, expected) in
        [(&first, i64::MAX), (&role, i64::MAX), (&back, 3), (&removed, 3), (&first, 3), (&back, 3), (&role, 3)]
    {
        world.log.append(std::slice::from_ref(event)).await;
        world.log.drained(CONSUMER).await;
        assert_eq!(visible_from().await, expected, "after {}", event.seq);
    }
    worker.stop().await;
}

async fn an_outbox_row_goes_when_its_event_is_stored(world: World) {
    let conversation = ConversationId::new();
    let stored = event(conversation, 1, EventBody::ParticipantRemoved { user_id: UserId::new() });
    for id in [stored.id, EventId::new()] {
        let row = outbox::ActiveModel {
            id: Set(id.0),
            conversation_id: Set(conversation.0),
            sender_id: Set(stored.sender_id.0),
            body: Set(serde_json::to_string(&stored.body).unwrap()),
            created_at: Set(0),
        };
        row.insert(&world.db).await.unwrap();
    }
    world.log.append(std::slice::from_ref(&stored)).await;
    let worker = world.persistence();
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    assert!(outbox::Entity::find_by_id(stored.id.0).one(&world.db).await.unwrap().is_none());
    assert_eq!(outbox::Entity::find().count(&world.db).await.unwrap(), 1, "the other row stays");
}

async fn a_database_that_is_away_is_waited_for(world: World) {
    world.db.execute_unprepared("ALTER TABLE events RENAME TO away").await.unwrap();
    let mut live = world.log.subscribe(StoredNotice::SUBJECT).await;
    world.log.append(&[message(ConversationId::new(), 1)]).await;
    // One attempt would be enough for a dead letter, if this counted as the record's fault.
    let config = PersistenceConfig { max_attempts: 1, ack_wait_ms: 100, ..quick() };
    let worker = world.persistence_on(&world.log, config);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(world.log.dead_letters().await.is_empty());
    world.db.execute_unprepared("ALTER TABLE away RENAME TO events").await.unwrap();
    let notice: StoredNotice = serde_json::from_slice(&next_live(&mut live).await).unwrap();
    assert_eq!(covered(&notice), 1);
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    assert_eq!(world.table().await.len(), 1);
    assert!(world.log.dead_letters().await.is_empty());
}

async fn a_worker_stops_while_the_database_is_away(world: World) {
    world.db.execute_unprepared("ALTER TABLE events RENAME TO away").await.unwrap();
    world.log.append(&[message(ConversationId::new(), 1)]).await;
    let worker = world.persistence();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    worker.stop().await;
    assert!(world.log.dead_letters().await.is_empty());
}

/// SQLite takes every text; Postgres refuses a NUL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_database_refuses_keeps_no_neighbour_waiting() {
    crate::harness::on_postgres(|world| async move {
        let conversation = ConversationId::new();
        let mut bad = message(conversation, 50);
        if let EventBody::MessagePosted { sealed, .. } = &mut bad.body {
            sealed.push('\0');
        }
        for seq in 1..=100 {
            let event = if seq == 50 { bad.clone() } else { message(conversation, seq) };
            world.log.append(&[event]).await;
        }
        let worker = world.persistence_on(&world.log, PersistenceConfig { max_attempts: 2, ..quick() });
        eventually("there is a dead letter", async || !world.log.dead_letters().await.is_empty()).await;
        world.log.drained(CONSUMER).await;
        worker.stop().await;
        assert_eq!(world.table().await.len(), 99);
        let letters = world.log.dead_letters().await;
        assert_eq!((letters.len(), letters[0].attempts), (1, 2));
        assert_eq!(letters[0].record.position.0, 50);
    })
    .await;
}
