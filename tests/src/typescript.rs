//! The TypeScript client and the recipes: compiled together, in a folder of their own, and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use connects_local::project::Project;
use connects_local::{environment, tools};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// No program here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// The recipes' index, which has what all of them begin with.
const INDEX: &str = "README";

/// A copy of the client, its tests and the recipes' programs, compiled, with the packages they need.
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
    project: Project,
    /// The names of the recipes' pages.
    pub recipes: Vec<String>,
}

impl Workshop {
    /// The one of this run; `None` where node is missing, which `cargo local test` has said.
    pub async fn open() -> Option<&'static Self> {
        static ONE: OnceCell<Option<Workshop>> = OnceCell::const_new();
        ONE.get_or_init(Self::set_up).await.as_ref()
    }

    async fn set_up() -> Option<Self> {
        let project = Project::find().unwrap();
        let missing = tools::missing_for_typescript(&project);
        let packages = tools::typescript_installed(&project);
        if (packages.is_none() || !missing.is_empty()) && !environment::ci() {
            eprintln!(
                "NOT TESTED: TypeScript; `cargo local test` installs it, and needs {missing:?}"
            );
            return None;
        }
        let packages = packages.expect("the client's packages: run `cargo local test`");

        let folder = project.home().join("test/typescript");
        let _ = fs::remove_dir_all(&folder);
        let client = project.typescript();
        for part in ["src", "test"] {
            copy_all(&client.join(part), &folder.join(part));
        }
        for file in ["package.json", "tsconfig.json"] {
            fs::copy(client.join(file), folder.join(file)).unwrap();
        }
        std::os::unix::fs::symlink(packages, folder.join("node_modules")).unwrap();
        let recipes = write_recipes(&project.recipes(), &folder.join("recipes"));
        let workshop = Self {
            folder,
            project,
            recipes,
        };
        let compiled = workshop
            .node(&["node_modules/typescript/bin/tsc"], &[])
            .await;
        compiled.unwrap_or_else(|said| panic!("{said}"));
        Some(workshop)
    }

    /// The types of the contract, as they would be generated now.
    pub async fn generated(&self) -> String {
        let contract = self.project.contract().display().to_string();
        let generator = "node_modules/openapi-typescript/bin/cli.js";
        let arguments = [generator, &contract, "--output", "made.ts"];
        let made = self.node(&arguments, &[]).await;
        made.unwrap_or_else(|said| panic!("{said}"));
        fs::read_to_string(self.folder.join("made.ts")).unwrap()
    }

    /// Runs the client's own tests; what they said if they failed.
    ///
    /// # Errors
    /// If they fail.
    pub async fn test(&self) -> Result<String, String> {
        let contract = self.project.contract().display().to_string();
        let tests = ["--test", "dist/test/patience.test.js"];
        self.node(&tests, &[("CONNECTS_OPENAPI", contract)]).await
    }

    /// Runs a recipe's program; what it said if it failed.
    ///
    /// # Errors
    /// If what the page asserts is not so.
    pub async fn run(&self, recipe: &str, given: &[(&str, String)]) -> Result<String, String> {
        let program = format!("dist/recipes/{recipe}.js");
        let said = self.node(&["--enable-source-maps", &program], given).await;
        said.map_err(|said| format!("docs/recipes/{recipe}.md: {said}"))
    }

    /// Runs node to its end: what it said, and if it failed what it ran, too.
    async fn node(
        &self,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Result<String, String> {
        let mut node = Command::new("node");
        node.args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, node.output()).await;
        let output = ended
            .unwrap_or_else(|_| panic!("node {arguments:?} hangs"))
            .expect("node");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("node {}:\n{said}", arguments.join(" "))),
        }
    }
}

/// Writes each page's program, the index's as `setup.ts`; the names of the others.
fn write_recipes(pages: &Path, programs: &Path) -> Vec<String> {
    fs::create_dir_all(programs).unwrap();
    let mut names = vec![];
    for entry in fs::read_dir(pages).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let program = program(&fs::read_to_string(&path).unwrap());
        if name == INDEX {
            fs::write(programs.join("setup.ts"), program).unwrap();
        } else {
            fs::write(programs.join(format!("{name}.ts")), program).unwrap();
            names.push(name);
        }
    }
    names.sort();
    names
}

/// The TypeScript of a page, each line where it is in the page: errors then name the page's lines.
fn program(page: &str) -> String {
    let mut inside = false;
    let lines = page.lines().map(|line| {
        let fence = line.starts_with("```");
        let code = inside && !fence;
        inside = if fence { line == "```ts" } else { inside };
        if code { line } else { "" }
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn a_program_has_its_pages_lines() {
        let page = "# A\n\n```ts\nlet a = 1;\n```\n\n```sh\nls\n```\n\n```ts\na += 1;\n```\n";
        let expected = "\n\n\nlet a = 1;\n\n\n\n\n\n\n\na += 1;\n\n";
        assert_eq!(program(page), expected);
    }
}
