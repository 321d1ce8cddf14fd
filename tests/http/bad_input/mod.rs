//! Whatever is wrong with a request, it is refused with the documented problem, in the
//! documented order of precedence, and the account is byte for byte what it was.

mod bodies;
mod keys;
mod precedence;
mod questions;
mod values;
