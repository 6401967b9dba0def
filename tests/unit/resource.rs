//! From table names to resource names.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgherald::resource::ResourceNames;
use proptest::prelude::*;

fn names() -> ResourceNames {
    let exact = [("project_members", "project_members"), ("Staff", "employee"), ("tbl_x", "thing")];
    ResourceNames::new(exact.map(|(table, name)| (table.to_owned(), name.to_owned())).into())
}

#[test]
fn tables_become_their_resources() {
    let names = names();
    let check = |table: &str, expected: &str| assert_eq!(&*names.of_table(table), expected, "{table}");
    // The design's own list.
    check("projects", "project");
    check("sprints", "sprint");
    check("tasks", "task");
    check("order_items", "order_item");
    check("statuses", "status");
    check("categories", "category");
    check("people", "person");
    check("news", "news");
    check("data", "data");
    check("series", "series");
    check("addresses", "address");
    check("analyses", "analysis");
    // What the library gets wrong, of 671 tables of real applications.
    check("metadata", "metadata");
    check("caches", "cache");
    check("niches", "niche");
    check("headaches", "headache");
    check("axes", "axis");
    check("oases", "oasis");
    check("vetoes", "veto");
    check("taxa", "taxon");
    for same in [
        "lens",
        "basis",
        "bias",
        "sms",
        "dns",
        "https",
        "gps",
        "aws",
        "os",
        "ios",
        "cms",
        "tos",
        "redis",
        "kubernetes",
        "physics",
        "mathematics",
        "politics",
        "species",
    ] {
        check(same, same);
    }
    // Only the last word counts.
    check("page_caches", "page_cache");
    check("user_metadata", "user_metadata");
    check("people_addresses", "people_address");
    check("sent_sms", "sent_sms");
    // A suffix behind the plural stays.
    check("tasks_v2", "tasks_v2");
    check("tasks_", "tasks_");
    check("_", "_");
    check("_tasks", "_task");
    // A name is never empty.
    check("s", "s");
    check("a_s", "a_s");
    // Singular already.
    check("task", "task");
    check("status", "status");
    check("address", "address");
    check("user", "user");
}

#[test]
fn the_schema_is_ignored() {
    let names = names();
    let check = |table: &str, expected: &str| assert_eq!(&*names.of_table(table), expected, "{table}");
    check("public.tasks", "task");
    check("db.public.tasks", "task");
    check("public.project_members", "project_members");
    check("public.", "public.");
    check(".", ".");
}

#[test]
fn a_configured_name_wins_and_is_matched_exactly() {
    let names = names();
    let check = |table: &str, expected: &str| assert_eq!(&*names.of_table(table), expected, "{table}");
    check("project_members", "project_members");
    check("Staff", "employee");
    check("hr.Staff", "employee");
    check("staff", "staff");
    check("tbl_x", "thing");
    assert_eq!(&*ResourceNames::default().of_table("project_members"), "project_member");
}

#[test]
fn other_spellings_and_alphabets_keep_their_head() {
    let names = ResourceNames::default();
    let check = |table: &str, expected: &str| assert_eq!(&*names.of_table(table), expected, "{table}");
    check("OrderItems", "OrderItem");
    check("Metadata", "Metadata");
    check("", "");
    check("задачи", "задачи");
    check("注文", "注文");
}

#[test]
fn the_same_table_gives_the_same_shared_name() {
    let names = names();
    assert!(Arc::ptr_eq(&names.of_table("tasks"), &names.of_table("tasks")));
}

#[test]
fn beyond_the_memo_names_stay_right() {
    let names = ResourceNames::new(BTreeMap::new());
    for number in 0..5_000 {
        assert_eq!(&*names.of_table(&format!("t{number}_tasks")), format!("t{number}_task"));
    }
}

proptest! {
    #[test]
    fn any_text_has_a_name_and_always_the_same(table in any::<String>()) {
        let names = ResourceNames::default();
        let first = names.of_table(&table);
        prop_assert_eq!(&first, &names.of_table(&table));
        prop_assert_eq!(&first, &ResourceNames::default().of_table(&table));
    }

    #[test]
    fn the_head_of_a_name_never_changes(head in "[a-z]{1,8}", word in "[a-z]{1,12}") {
        let name = ResourceNames::default().of_table(&format!("{head}_{word}"));
        prop_assert!(name.starts_with(&format!("{head}_")), "{}", name);
        prop_assert!(name.len() > head.len() + 1, "{} lost its word", name);
    }
}
