//! Files that are made, and kept where they can be read: a test compares, or writes.

use connects_local::project::Project;

/// Tells the tests to write such files instead of comparing them.
pub const WRITE: &str = "CONNECTS_TEST_WRITE_DOCS";

/// Asserts that a file of the project, named from its root, is what it would be now.
pub fn is_written(file: &str, text: &str) {
    let path = Project::find().unwrap().root().join(file);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(written.lines()).find(|(a, b)| a != b);
    assert!(
        written == text,
        "{file} is not what it would be; {WRITE}=1 writes it: {differs:?}"
    );
}
