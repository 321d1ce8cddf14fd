//! The corpus that fuzzing has gathered, and seeded mutations of it, through the functions that
//! libFuzzer feeds: what it found once stays found, on any compiler, the same in every run.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::alloc::System;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use connects_tests::fuzzing;
use fastrand::Rng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Work is counted in bytes asked of the allocator, not in time: so much for any input, be it
/// that a new table is made for it …
const MAX_BYTES: usize = 64 << 20;

/// … and so much for each of its own bytes.
const MAX_BYTES_FOR_EACH: usize = 4 << 10;

/// Mutants of each file of the corpus.
const MUTANTS: usize = 24;

/// The most changes that make a mutant.
const MAX_CHANGES: usize = 4;

/// What is put into a mutant: what parsers trip over.
const PIECES: [&str; 36] = [
    "",
    "0",
    "-1",
    "1e9",
    "0.5",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1000000",
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "[[[[[[[[",
    "{\"a\":",
    "\\u0000",
    "\\ud800",
    "\u{fffd}",
    "é",
    "\r\n",
    "\n\n",
    "%",
    "%00",
    "%2f",
    "%ff",
    "&",
    "=",
    "?",
    "/",
    ":",
    "..",
    "9998-12-31",
    "2024-02-29",
    "$USER",
    "$ADMIN",
];

/// One at a time: the allocator counts for all threads together.
static TURN: Mutex<()> = Mutex::new(());

/// The files of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = fs::read_dir(&folder).unwrap();
    let mut corpus: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "{}", folder.display());
    corpus
}

fn replay(run: fn(&[u8]), corpus: &[(String, Vec<u8>)]) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = Rng::with_seed(1);
    let mut most = 0;
    for (name, input) in corpus {
        most = most.max(bounded(run, input, name));
        for _ in 0..MUTANTS {
            let mutant = mutant(&mut rng, input, corpus);
            most = most.max(bounded(run, &mutant, &format!("a mutant of {name}")));
        }
    }
    let inputs = corpus.len() * (1 + MUTANTS);
    println!("{inputs} inputs, at most {most} bytes for one");
}

fn bounded(run: fn(&[u8]), input: &[u8], what: &str) -> usize {
    let region = Region::new(ALLOCATOR);
    let tell = || eprintln!("{what}: \"{}\"", input.escape_ascii());
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        tell();
        resume_unwind(panic);
    }
    let bytes = region.change().bytes_allocated;
    if bytes > MAX_BYTES + MAX_BYTES_FOR_EACH * input.len() {
        tell();
        panic!("{bytes} bytes were asked of the allocator");
    }
    bytes
}

fn mutant(rng: &mut Rng, input: &[u8], corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
    (0..rng.usize(1..=MAX_CHANGES)).fold(input.to_vec(), |input, _| changed(rng, input, corpus))
}

/// One change: a piece in the place of a few bytes, a bit, a part left out or repeated, or the end
/// of another file.
fn changed(rng: &mut Rng, mut input: Vec<u8>, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
    let from = rng.usize(0..=input.len());
    let to = (from + rng.usize(0..=16)).min(input.len());
    match rng.u8(0..5) {
        0 => {
            let piece = rng.choice(PIECES).unwrap_or_default();
            input.splice(from..to, piece.bytes()).for_each(drop);
        }
        1 => {
            if let Some(byte) = input.get_mut(from) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
        2 => input.drain(from..to).for_each(drop),
        3 => {
            let part = input[from..to].repeat(rng.usize(1..=64));
            input.splice(to..to, part).for_each(drop);
        }
        _ => {
            let (_, other) = &corpus[rng.usize(0..corpus.len())];
            input.truncate(from);
            input.extend(&other[rng.usize(0..=other.len())..]);
        }
    }
    input
}

#[test]
fn events_of_any_form_are_answered() {
    replay(fuzzing::event, &corpus("event"));
}

#[test]
fn requests_of_any_form_are_answered() {
    replay(fuzzing::request, &corpus("request"));
}

#[test]
fn only_signed_tokens_in_their_time_are_accepted() {
    replay(fuzzing::token, &corpus("token"));
}

#[test]
fn key_sets_of_any_form_are_read_or_refused() {
    replay(fuzzing::jwks, &corpus("jwks"));
}

#[test]
fn cursors_to_any_position_are_answered() {
    replay(fuzzing::cursor, &corpus("cursor"));
}

#[test]
fn an_account_can_live_under_any_policy_that_is_accepted() {
    replay(fuzzing::policy, &corpus("policy"));
}

#[test]
fn items_of_any_form_are_read_or_reported() {
    let stored = fuzzing::stored()
        .into_iter()
        .map(|item| ("an item".to_owned(), item));
    let corpus: Vec<_> = corpus("item").into_iter().chain(stored).collect();
    replay(fuzzing::item, &corpus);
}
