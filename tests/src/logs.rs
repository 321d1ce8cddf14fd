//! What the functions of a stack have logged.

use connects_local::project::Project;
use connects_local::template::Template;
use serde_json::Value;

use crate::stack::Stack;

/// A line of a function's log.
#[derive(Debug)]
pub struct Line {
    /// The function.
    pub function: String,
    /// As it was written.
    pub text: String,
    /// What it says.
    pub said: Value,
}

impl Line {
    /// The request that it is about.
    pub fn request_id(&self) -> Option<&str> {
        self.said["span"]["request_id"].as_str()
    }
}

impl Stack {
    /// All that was logged so far: every line is a JSON object, whatever was asked.
    pub fn logged(&self) -> Vec<Line> {
        let logs = self.logs.as_ref().expect("a stack that logs");
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let of = |function: &String| {
            let text = std::fs::read(logs.join(format!("{function}.log"))).unwrap();
            let text = String::from_utf8(text).expect("a log in UTF-8");
            // What is being written just now has no end yet.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines = whole.split('\n').filter(|line| !line.is_empty());
            let lines = lines.map(|text| Line {
                function: function.clone(),
                text: text.to_owned(),
                said: serde_json::from_str(text)
                    .ok()
                    .filter(Value::is_object)
                    .unwrap_or_else(|| panic!("{function} logged what is no object: {text}")),
            });
            lines.collect::<Vec<_>>()
        };
        template.functions.iter().flat_map(of).collect()
    }
}
