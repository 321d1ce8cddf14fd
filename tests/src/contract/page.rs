//! `docs/api.md`, which has the words of every operation.

use serde_json::Value;

/// The page, taken apart.
pub struct Page {
    /// What stands before the routes.
    pub introduction: String,
    /// What it says of each route.
    pub sections: Vec<Section>,
}

/// What the page says of a route.
pub struct Section {
    method: String,
    path: String,
    /// What it is for, in a few words.
    pub title: String,
    /// Who may.
    pub scopes: Vec<&'static str>,
    /// Whether it can't be without an idempotency key.
    pub needs_key: bool,
    /// All of it, as Markdown.
    pub text: String,
    /// The first answer that is shown.
    pub example: Option<Value>,
}

impl Page {
    /// Of the page's Markdown.
    pub fn parse(page: &str) -> Self {
        let (introduction, routes) = page.split_once("\n## Routes\n").expect("## Routes");
        let (_, introduction) = introduction.split_once('\n').expect("a title");
        let (routes, _) = routes.split_once("\n## ").unwrap_or((routes, ""));
        let sections = routes.split("\n### ").skip(1).map(Section::parse);
        Self {
            introduction: without_links(introduction.trim()),
            sections: sections.collect(),
        }
    }

    /// What it says of a route.
    pub fn section(&self, method: &str, path: &str) -> &Section {
        let section = self
            .sections
            .iter()
            .find(|section| section.method == method && section.path == path);
        section.unwrap_or_else(|| panic!("docs/api.md has nothing on {method} {path}"))
    }
}

impl Section {
    fn parse(section: &str) -> Self {
        let (heading, text) = section.split_once('\n').expect("a section's text");
        let parts = heading.strip_prefix('`').and_then(|heading| {
            let (route, rest) = heading.split_once("` — ")?;
            let (title, who) = rest.strip_suffix(')')?.rsplit_once(" (")?;
            Some((route.split_once(' ')?, title, who))
        });
        let ((method, path), title, who) =
            parts.unwrap_or_else(|| panic!("not a route's: {heading}"));
        let (who, needs_key) = match who.strip_suffix("; key required") {
            Some(who) => (who, true),
            None => (who, false),
        };
        let scopes = match who {
            "no token needed" => vec![],
            letters => letters.split(' ').map(scope).collect(),
        };
        let path = path.split('?').next().unwrap_or(path);
        let example = text
            .split("```json\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let example = example.map(|json| serde_json::from_str(json).expect(heading));
        Self {
            method: method.to_owned(),
            path: path.replace('…', "/v1/accounts/{account_id}"),
            title: capital(title),
            scopes,
            needs_key,
            text: without_links(text.trim()),
            example,
        }
    }
}

fn scope(letter: &str) -> &'static str {
    match letter {
        "U" => "connects",
        "S" => "connects:service",
        "A" => "connects:admin",
        other => panic!("no scope is called {other}"),
    }
}

fn capital(title: &str) -> String {
    let (first, rest) = title.split_at(1);
    first.to_uppercase() + rest
}

/// Links lead to files beside the page; the document has no such neighbours.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (before, label) = text.rsplit_once('[').expect("a link's words");
        let (_, after) = part.split_once(')').expect("a link's end");
        format!("{before}{label}{after}")
    })
}
