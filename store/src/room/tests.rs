//! The account, by itself.

#![allow(clippy::unwrap_used)]

use super::*;
use leasehold_documents::{Action, Command, Condition, Documents, On, Operation, Work};
use leasehold_replication::Position;
use std::time::Duration;
use uuid::Uuid;

const MIB: u64 = 1024 * 1024;

fn memory(account: &mut Account, bytes: u64) -> Level {
    account.judge(&Usage { documents_bytes: bytes - PROGRAM_BYTES, ..Usage::default() }).room.memory
}

fn disk(account: &mut Account, free_bytes: u64, next_snapshot_bytes: u64) -> Level {
    let space = Some(Space { free_bytes, total_bytes: 1000 * MIB });
    account.judge(&Usage { space, next_snapshot_bytes, ..Usage::default() }).room.disk
}

#[test]
fn memory_is_over_above_the_limit_and_until_it_is_well_below() {
    let mut account = Account::new(Limits { memory_bytes: 160 * MIB, disk_reserve_bytes: None });
    assert_eq!(memory(&mut account, 120 * MIB), Level::Enough);
    assert_eq!(memory(&mut account, 160 * MIB), Level::Near);
    assert_eq!(memory(&mut account, 160 * MIB + 1), Level::Over);
    assert_eq!(memory(&mut account, 151 * MIB), Level::Over, "a little less does not count");
    assert_eq!(memory(&mut account, 177 * MIB), Level::Far);
    assert_eq!(memory(&mut account, 175 * MIB), Level::Over);
    assert_eq!(memory(&mut account, 150 * MIB), Level::Near);
    assert_eq!(memory(&mut account, 155 * MIB), Level::Near, "and it is not over again before the limit");
}

#[test]
fn all_that_takes_memory_is_counted() {
    let mut account = Account::new(Limits { memory_bytes: 100 * MIB, disk_reserve_bytes: None });
    let none = account.judge(&Usage::default()).memory_used_bytes;
    assert_eq!(none, PROGRAM_BYTES);
    let usage = Usage {
        documents_bytes: 1,
        history_bytes: 10,
        log_bytes: 100,
        under_way_bytes: 1000,
        held_bytes: 10_000,
        sums_bytes: 100_000,
        ..Usage::default()
    };
    assert_eq!(account.judge(&usage).memory_used_bytes, none + 111_111);
}

#[test]
fn the_log_is_large_where_memory_is_short_and_it_has_much_of_it() {
    let mut account = Account::new(Limits { memory_bytes: 110 * MIB, disk_reserve_bytes: None });
    let of = |log_bytes, documents_bytes| Usage { log_bytes, documents_bytes, ..Usage::default() };
    assert!(!account.judge(&of(40 * MIB, 0)).log_is_large, "there is enough");
    assert!(account.judge(&of(40 * MIB, 30 * MIB)).log_is_large);
    assert!(!account.judge(&of(10 * MIB, 70 * MIB)).log_is_large, "the log is not what takes the memory");
}

#[test]
fn the_reserve_of_the_disk_grows_with_the_next_snapshot() {
    let mut account = Account::new(Limits { memory_bytes: 100 * MIB, disk_reserve_bytes: None });
    assert_eq!(disk(&mut account, 64 * MIB, 0), Level::Enough);
    assert_eq!(disk(&mut account, 64 * MIB - 1, 0), Level::Over);
    assert_eq!(disk(&mut account, 71 * MIB, 0), Level::Over, "a little more does not count");
    assert_eq!(disk(&mut account, 73 * MIB, 0), Level::Enough);
    assert_eq!(disk(&mut account, 149 * MIB, 100 * MIB), Level::Over);
    assert_eq!(disk(&mut account, 110 * MIB, 100 * MIB), Level::Far);
    assert_eq!(disk(&mut account, 200 * MIB, 100 * MIB), Level::Enough);
    let full = Usage { disk_full: true, ..Usage::default() };
    assert_eq!(account.judge(&full).room.disk, Level::Full);
    let mut account = Account::new(Limits { memory_bytes: 100 * MIB, disk_reserve_bytes: Some(10 * MIB) });
    assert_eq!(disk(&mut account, 11 * MIB, 100 * MIB), Level::Enough);
    assert_eq!(disk(&mut account, 9 * MIB, 100 * MIB), Level::Over);
    let figures = account.judge(&Usage { space: Some(Space { free_bytes: 9, total_bytes: 11 * MIB }), ..full });
    assert_eq!((figures.disk_used_bytes, figures.disk_allowed_bytes), (Some(11 * MIB - 9), Some(MIB)));
}

fn put(documents: &mut Documents, id: u128, length: usize) {
    apply(documents, operation(id, Action::Put { record: &record(id, length) }));
}

fn record(id: u128, length: usize) -> String {
    let id = Uuid::from_u128(id);
    let head = format!(r#"{{"id":"{id}","x":""#);
    format!(r#"{head}{}"}}"#, "x".repeat(length - head.len() - 2))
}

fn operation(id: u128, action: Action<'_>) -> Operation<'_> {
    Operation::new(Uuid::from_u128(id), action, Condition::None)
}

fn apply(documents: &mut Documents, operation: Operation<'_>) {
    let command = Command { time_ms: 0, key: None, work: Work::One(On::name("persons"), operation) }.encode(1);
    let next = documents.applied().seq.next();
    documents.apply(Position::new(1, next.0), &command, &mut Vec::new()).unwrap();
}

fn growth(documents: &Documents, operations: Vec<Operation<'_>>) -> Option<i64> {
    documents.growth(&Command { time_ms: 0, key: None, work: Work::Batch(On::name("persons"), operations) }.encode(1))
}

#[test]
fn documents_count_what_they_hold_and_what_was_given_up() {
    let mut documents = Documents::new();
    let empty = documents.memory_bytes();
    for id in 1..=10 {
        put(&mut documents, id, 500);
    }
    let ten = documents.memory_bytes() - empty;
    assert_eq!(ten, 10 * (500 + leasehold_documents::RECORD_MEMORY_BYTES));
    assert_eq!(documents.given_up_bytes(), 0);
    put(&mut documents, 1, 200);
    assert_eq!(documents.memory_bytes() - empty, ten - 300);
    assert!(documents.given_up_bytes() >= 500);
    for id in 1..=10 {
        apply(&mut documents, operation(id, Action::Delete));
    }
    assert_eq!(documents.memory_bytes(), empty);
    let mut written = Vec::new();
    put(&mut documents, 1, 5000);
    documents.write_collections(&mut written).unwrap();
    let (wrote, told) = (written.len() as u64, documents.stored_bytes());
    assert!(told >= wrote && told < wrote + 6000, "{told} for {wrote}");
}

#[test]
fn a_command_grows_the_data_by_what_it_adds_less_what_it_takes_away() {
    let mut documents = Documents::new();
    put(&mut documents, 1, 500);
    put(&mut documents, 2, 500);
    let (long, short, same) = (record(1, 600), record(1, 400), record(1, 500));
    let put = |record| operation(1, Action::Put { record });
    assert_eq!(growth(&documents, vec![put(&long)]), Some(100));
    assert_eq!(growth(&documents, vec![put(&short)]), Some(-100));
    assert_eq!(growth(&documents, vec![put(&same)]), None, "nothing is written");
    assert!(growth(&documents, vec![operation(1, Action::Delete)]).unwrap() < -500);
    let new = record(3, 500);
    let create = operation(3, Action::Create { record: &new });
    assert!(growth(&documents, vec![create]).unwrap() > 500);
    assert_eq!(growth(&documents, vec![create, operation(1, Action::Delete)]), Some(0));
    assert!(growth(&documents, vec![create, operation(1, Action::Delete), operation(2, Action::Delete)]).unwrap() < 0);
    assert_eq!(growth(&documents, vec![create, operation(3, Action::Delete)]), Some(0));
    // What will not be done grows nothing: it must get its own answer.
    assert_eq!(growth(&documents, vec![operation(1, Action::Create { record: &long })]), None);
    assert_eq!(growth(&documents, vec![operation(9, Action::Patch { patch: r#"{"y":"long"}"# })]), None);
    let absent = Operation { condition: Condition::Absent, ..put(&long) };
    assert_eq!(growth(&documents, vec![absent]), None);
    assert!(growth(&documents, vec![operation(1, Action::Patch { patch: r#"{"y":"1234567890"}"# })]).unwrap() > 10);
    assert!(growth(&documents, vec![operation(1, Action::Patch { patch: r#"{"x":null}"# })]).unwrap() < -400);
    assert_eq!(documents.growth(b"no command"), None);
}

#[test]
fn what_was_replaced_is_held_as_long_as_a_view_from_before_is() {
    let mut documents = Documents::new();
    for id in 1..=10 {
        put(&mut documents, id, 500);
    }
    let mut held = Held::default();
    assert_eq!(held.count(Duration::from_secs(1), &mut documents), 0);
    let view = documents.clone();
    put(&mut documents, 1, 501);
    held.count(Duration::from_secs(2), &mut documents);
    for id in 2..=10 {
        put(&mut documents, id, 501);
    }
    assert!(held.count(Duration::from_secs(3), &mut documents) >= 9 * 500);
    let later = documents.clone();
    put(&mut documents, 1, 502);
    drop(view);
    held.count(Duration::from_secs(4), &mut documents);
    assert!(held.count(Duration::from_secs(5), &mut documents) < 9 * 500, "the older view is gone");
    drop(later);
    put(&mut documents, 1, 503);
    assert_eq!(held.count(Duration::from_secs(6), &mut documents), 0);
}
