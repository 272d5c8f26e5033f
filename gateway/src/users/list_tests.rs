use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, EntityTrait as _, IntoActiveModel as _, Schema,
};
use sealpost_schema::{ProblemKind, UserId};

use super::*;

async fn people(names: &[(&str, &str)]) -> DatabaseConnection {
    let db = Database::connect(ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned()).await.unwrap();
    db.execute(&Schema::new(db.get_database_backend()).create_table_from_entity(user::Entity)).await.unwrap();
    let rows = names.iter().map(|(username, display_name)| user::Model {
        display_name: (*display_name).to_owned(),
        disabled_at: username.starts_with("gone").then_some(1),
        ..user::Model::new(UserId::new().0, username, 0)
    });
    user::Entity::insert_many(rows.map(user::Model::into_active_model)).exec_without_returning(&db).await.unwrap();
    db
}

fn ask(query: &str, limit: u64, after: Option<&str>) -> ListUsersQuery {
    ListUsersQuery { query: query.to_owned(), limit, after: after.map(str::to_owned) }
}

async fn found(db: &DatabaseConnection, query: ListUsersQuery) -> Vec<String> {
    select(&query).unwrap().all(db).await.unwrap().into_iter().map(|user| user.username).collect()
}

#[tokio::test]
async fn people_are_found_by_the_beginning_of_either_name_in_any_case() {
    let db =
        people(&[("ada", "Countess"), ("adam", "Zoe"), ("bob", "Adamo"), ("carl", "Not Ada"), ("dora", "Älva Berg")])
            .await;
    for query in ["ada", "ADA", " Ada "] {
        assert_eq!(found(&db, ask(query, 50, None)).await, ["ada", "adam", "bob"], "{query}");
    }
    for query in ["Älva", "älva", "ÄLVA", "Älva B", "älva b", "ä"] {
        assert_eq!(found(&db, ask(query, 50, None)).await, ["dora"], "{query}");
    }
    assert_eq!(found(&db, ask("", 50, None)).await.len(), 5);
    assert!(found(&db, ask("nobody", 50, None)).await.is_empty());
}

#[tokio::test]
async fn wildcards_stand_for_themselves() {
    let db = people(&[("a_b", "100% sure"), ("axb", "100 sure"), ("cde", "!important"), ("fgh", r"back\slash")]).await;
    for (query, expected) in [
        ("a_", "a_b"),
        ("100%", "a_b"),
        ("!", "cde"),
        (r"back\", "fgh"),
        ("' OR 1=1 --", ""),
        ("%", ""),
        ("_", ""),
        (r"\%", ""),
    ] {
        assert_eq!(found(&db, ask(query, 50, None)).await.join(","), expected, "{query}");
    }
}

#[tokio::test]
async fn disabled_users_are_not_found() {
    let db = people(&[("gone1", "Gone"), ("gonzo", "Gonzo")]).await;
    assert_eq!(found(&db, ask("gon", 50, None)).await, ["gonzo"]);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let db = people(&[("ccc", "x"), ("aaa", "x"), ("eee", "x"), ("bbb", "x"), ("ddd", "x")]).await;
    assert_eq!(found(&db, ask("x", 2, None)).await, ["aaa", "bbb", "ccc"], "one more than asked for");
    assert_eq!(found(&db, ask("x", 2, Some("bbb"))).await, ["ccc", "ddd", "eee"]);
    assert_eq!(found(&db, ask("x", 2, Some("DDD"))).await, ["eee"]);
}

#[test]
fn values_out_of_range_are_refused() {
    for bad in [
        ask("", 0, None),
        ask("", 101, None),
        ask(&"a".repeat(81), 50, None),
        ask("a\0", 50, None),
        ask("", 50, Some("a b")),
    ] {
        let error = select(&bad).map(|_| ()).unwrap_err().0;
        assert_eq!(error.kind, ProblemKind::Invalid, "{}", error.detail);
    }
}
