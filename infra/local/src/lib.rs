//! What the local stack is made of. The tests use its emulators and its reading of template.yaml.

pub mod aws;
pub mod demo;
pub mod emulator;
pub mod environment;
pub mod failure;
pub mod front;
pub mod functions;
pub mod gateway;
pub mod keys;
pub mod process;
pub mod project;
pub mod proofs;
pub mod reference;
pub mod schedule;
#[cfg(test)]
mod security;
pub mod stack;
pub mod state;
pub mod stream;
pub mod stripe;
pub mod template;
pub mod testing;
pub mod tools;
