//! SECURITY.md names tests; they are there.

use crate::project::Project;

/// What a table's row names as `path::name`.
fn named(row: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = row.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::"))
}

#[test]
fn every_test_that_security_md_names_exists_and_every_threat_has_one() {
    let root = Project::find().unwrap().root().to_owned();
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, threats) = text.split_once("| asset |").unwrap();
    let (threats, _) = threats.split_once("\n\n").unwrap();
    let rows: Vec<&str> = threats.lines().skip(2).collect();
    assert!(rows.len() > 20);
    for row in rows {
        assert!(named(row).next().is_some(), "no test shows it: {row}");
        for (path, name) in named(row) {
            let file = std::fs::read_to_string(root.join(path));
            let file = file.unwrap_or_else(|error| panic!("{path}: {error}"));
            let definition = match path.ends_with(".guard") {
                true => format!("rule {name} "),
                false => format!("fn {name}("),
            };
            assert!(file.contains(&definition), "{path} has no {name}");
        }
    }
}
