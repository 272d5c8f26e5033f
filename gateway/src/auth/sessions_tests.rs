use std::path::PathBuf;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, IntoActiveModel as _, Schema};
use sealpost_schema::Clock;

use super::super::signing_key::SigningKey;
use super::*;

const GRACE: Duration = Duration::from_secs(15);
const DAYS: Duration = Duration::from_hours(30 * 24);

/// A user with one session.
struct Setup {
    db: DatabaseConnection,
    keys: RefreshKeys,
    clock: Clock,
    user: UserId,
    first: RefreshToken,
}

impl Setup {
    async fn new() -> Self {
        Self::at(ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned()).await
    }

    async fn at(options: ConnectOptions) -> Self {
        let db = Database::connect(options).await.unwrap();
        let schema = Schema::new(db.get_database_backend());
        db.execute(&schema.create_table_from_entity(user::Entity)).await.unwrap();
        db.execute(&schema.create_table_from_entity(session::Entity)).await.unwrap();
        let (clock, user) = (Clock::default(), UserId::new());
        let row = user::Model {
            id: user.0,
            username: "ada".to_owned(),
            display_name: "Ada".to_owned(),
            email: None,
            password_hash: String::new(),
            created_at: 0,
            disabled_at: None,
        };
        user::Entity::insert(row.into_active_model()).exec_without_returning(&db).await.unwrap();
        let keys = RefreshKeys::new(&[new_key()]);
        let first = keys.first(SessionId::new()).unwrap();
        begin(&db, &first, user, clock.now(), DAYS, Some(&"agent ".repeat(1000))).await.unwrap();
        Self { db, keys, clock, user, first }
    }

    async fn rotate(&self, token: &RefreshToken) -> Rotation {
        rotate(&self.db, &self.keys, token, self.clock.now(), GRACE).await.unwrap()
    }

    async fn next(&self, token: &RefreshToken) -> RefreshToken {
        match self.rotate(token).await {
            Rotation::Next { user, token } if user == self.user => token,
            other => panic!("{other:?}"),
        }
    }
}

fn new_key() -> SigningKey {
    SigningKey::parse(&SigningKey::generate()).unwrap()
}

#[tokio::test]
async fn a_chain_goes_on_and_on() {
    let setup = Setup::new().await;
    let mut token = setup.first.clone();
    for _ in 0..20 {
        let next = setup.next(&token).await;
        assert_ne!(next, token);
        assert_eq!(next.session_id, token.session_id);
        token = next;
    }
}

#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_grace() {
    let setup = Setup::new().await;
    let second = setup.next(&setup.first).await;
    setup.clock.step(14_000);
    assert_eq!(setup.next(&setup.first).await, second, "the same answer");
    let third = setup.next(&second).await;
    assert_ne!(third, second);
}

#[tokio::test]
async fn the_grace_is_not_prolonged_by_asking() {
    let setup = Setup::new().await;
    setup.next(&setup.first).await;
    setup.clock.step(10_000);
    setup.next(&setup.first).await;
    setup.clock.step(6_000);
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused);
}

#[tokio::test]
async fn a_token_whose_successor_was_used_is_reuse_even_within_the_grace() {
    let setup = Setup::new().await;
    let second = setup.next(&setup.first).await;
    let third = setup.next(&second).await;
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused);
    let mut token = third;
    for _ in 0..10 {
        token = setup.next(&token).await;
    }
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused, "however old");
}

#[tokio::test]
async fn made_up_tokens_are_refused_and_end_nothing() {
    let setup = Setup::new().await;
    let stranger = RefreshKeys::new(&[new_key()]).first(setup.first.session_id).unwrap();
    assert_eq!(setup.rotate(&stranger).await, Rotation::Refused);
    let unknown = setup.keys.first(SessionId::new()).unwrap();
    assert_eq!(setup.rotate(&unknown).await, Rotation::Refused);
    setup.next(&setup.first).await;
}

#[tokio::test]
async fn ended_expired_and_disabled_are_refused() {
    let setup = Setup::new().await;
    setup.clock.step(i64::try_from(DAYS.as_millis()).unwrap() + 1);
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Refused);
    setup.clock.step(-i64::try_from(DAYS.as_millis()).unwrap());

    let disable = |at| user::ActiveModel { disabled_at: Set(at), ..Default::default() };
    user::Entity::update_many().set(disable(Some(1))).exec(&setup.db).await.unwrap();
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Refused);
    user::Entity::update_many().set(disable(None)).exec(&setup.db).await.unwrap();

    let second = setup.next(&setup.first).await;
    mark_ended(&setup.db, second.session_id, setup.clock.now()).await.unwrap();
    for token in [&setup.first, &second] {
        assert_eq!(setup.rotate(token).await, Rotation::Refused);
    }
}

#[tokio::test]
async fn the_first_end_of_a_session_stays() {
    let setup = Setup::new().await;
    for at in [5, 6] {
        mark_ended(&setup.db, setup.first.session_id, Timestamp::from_millis(at)).await.unwrap();
    }
    let row = session::Entity::find_by_id(setup.first.session_id.0).one(&setup.db).await.unwrap().unwrap();
    assert_eq!(row.ended_at, Some(5));
    assert_eq!(row.user_agent.unwrap().len(), 255);
}

#[tokio::test]
async fn tokens_outlive_a_change_of_signing_keys() {
    let mut setup = Setup::new().await;
    setup.keys = RefreshKeys::new(&[new_key()]);
    let second = setup.next(&setup.first).await;
    setup.next(&second).await;
}

#[tokio::test]
async fn gateways_with_keys_in_another_order_give_the_same_answer() {
    let (a, b) = (SigningKey::generate(), SigningKey::generate());
    let keys =
        |texts: [&secrecy::SecretString; 2]| RefreshKeys::new(&texts.map(|text| SigningKey::parse(text).unwrap()));
    let mut setup = Setup::new().await;
    setup.keys = keys([&a, &b]);
    let second = setup.next(&setup.first).await;
    setup.keys = keys([&b, &a]);
    assert_eq!(setup.next(&setup.first).await, second);
}

/// A database file in a folder of its own, which goes with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_40_refreshes_at_once_one_rotates_and_all_get_the_one_successor() {
    let folder = Folder(std::env::temp_dir().join(format!("sealpost-{}", SessionId::new())));
    std::fs::create_dir(&folder.0).unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.0.join("sessions.db").display());
    let setup = Setup::at(ConnectOptions::new(url).max_connections(8).to_owned()).await;
    let results = futures_util::future::join_all((0..40).map(|_| setup.rotate(&setup.first))).await;
    let expected = setup.keys.successors(&setup.first).next().unwrap();
    for result in results {
        assert_eq!(result, Rotation::Next { user: setup.user, token: expected.clone() });
    }
    let row = session::Entity::find_by_id(setup.first.session_id.0).one(&setup.db).await.unwrap().unwrap();
    assert_eq!((row.refresh_hash, row.previous_hash), (expected.hash(), Some(setup.first.hash())));
}
