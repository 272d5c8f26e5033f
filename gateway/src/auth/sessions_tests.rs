use std::path::PathBuf;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, IntoActiveModel as _, Schema};
use sealpost_schema::Clock;
use sealpost_schema::entities::audit;

use super::super::device::{Device, DeviceKind};
use super::super::ending::{self, Ending, Which};
use super::super::signing_key::SigningKey;
use super::*;
use crate::audit::{EndReason, SignInMethod};
use crate::caller::Caller;

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
        Self::of(DeviceKind::Device).await
    }

    async fn of(kind: DeviceKind) -> Self {
        Self::at(ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned(), kind).await
    }

    async fn at(options: ConnectOptions, kind: DeviceKind) -> Self {
        let db = Database::connect(options).await.unwrap();
        let schema = Schema::new(db.get_database_backend());
        db.execute(&schema.create_table_from_entity(user::Entity)).await.unwrap();
        db.execute(&schema.create_table_from_entity(session::Entity)).await.unwrap();
        db.execute(&schema.create_table_from_entity(audit::Entity)).await.unwrap();
        let (clock, user) = (Clock::default(), UserId::new());
        let row = user::Model::new(user.0, "ada", 0);
        user::Entity::insert(row.into_active_model()).exec_without_returning(&db).await.unwrap();
        let keys = RefreshKeys::new(&[new_key()]);
        let first = keys.first(SessionId::new()).unwrap();
        let caller = Caller::default();
        let device = Device { name: None, kind };
        let sign_in = SignIn { method: SignInMethod::Password, device, caller: &caller };
        begin(&db, &AuthConfig::default(), &first, user, clock.now(), &sign_in).await.unwrap();
        Self { db, keys, clock, user, first }
    }

    async fn rotate(&self, token: &RefreshToken) -> Rotation {
        rotate(&self.db, &self.keys, token, self.clock.now(), GRACE).await.unwrap()
    }

    async fn end(&self, token: &RefreshToken, at: Timestamp) {
        let ending = Ending { by: Some(self.user), reason: EndReason::SignedOut, caller: &Caller::default() };
        ending::mark(&self.db, self.user, Which::One(token.session_id), at, ending).await.unwrap();
    }

    async fn next(&self, token: &RefreshToken) -> RefreshToken {
        match self.rotate(token).await {
            Rotation::Next { user, token, expires_at } if user == self.user && expires_at > self.clock.now() => token,
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
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused { user: setup.user });
}

#[tokio::test]
async fn a_token_whose_successor_was_used_is_reuse_even_within_the_grace() {
    let setup = Setup::new().await;
    let second = setup.next(&setup.first).await;
    let third = setup.next(&second).await;
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused { user: setup.user });
    let mut token = third;
    for _ in 0..10 {
        token = setup.next(&token).await;
    }
    assert_eq!(setup.rotate(&setup.first).await, Rotation::Reused { user: setup.user }, "however old");
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
    setup.end(&second, setup.clock.now()).await;
    for token in [&setup.first, &second] {
        assert_eq!(setup.rotate(token).await, Rotation::Refused);
    }
}

#[tokio::test]
async fn a_browser_that_was_not_used_for_a_day_is_signed_out_and_a_device_is_not() {
    const HOUR: i64 = 3_600_000;
    for (kind, stays) in [(DeviceKind::Browser, false), (DeviceKind::Device, true)] {
        let setup = Setup::of(kind).await;
        setup.clock.step(23 * HOUR);
        let second = setup.next(&setup.first).await;
        setup.clock.step(23 * HOUR);
        let third = setup.next(&second).await;
        setup.clock.step(25 * HOUR);
        assert_eq!(matches!(setup.rotate(&third).await, Rotation::Next { .. }), stays, "{kind:?}");
    }
}

#[tokio::test]
async fn the_first_end_of_a_session_stays() {
    let setup = Setup::new().await;
    for at in [5, 6] {
        setup.end(&setup.first, Timestamp::from_millis(at)).await;
    }
    let row = session::Entity::find_by_id(setup.first.session_id.0).one(&setup.db).await.unwrap().unwrap();
    assert_eq!(row.ended_at, Some(5));
    let recorded = audit::Entity::find().all(&setup.db).await.unwrap();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(recorded[0].details, r#"{"count":1,"reason":"signed_out"}"#);
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
    let setup = Setup::at(ConnectOptions::new(url).max_connections(8).to_owned(), DeviceKind::Device).await;
    let results = futures_util::future::join_all((0..40).map(|_| setup.rotate(&setup.first))).await;
    let expected = setup.keys.successors(&setup.first).next().unwrap();
    for result in results {
        let Rotation::Next { token, .. } = result else { panic!("{result:?}") };
        assert_eq!(token, expected);
    }
    let row = session::Entity::find_by_id(setup.first.session_id.0).one(&setup.db).await.unwrap().unwrap();
    assert_eq!((row.refresh_hash, row.previous_hash), (expected.hash(), Some(setup.first.hash())));
}
