//! Each page of `docs/recipes` is a program, and what it asserts is so.
//!
//! They run on the functions as they are deployed: no page names a time, and there no other test carries
//! their accounts into a later one.

use std::time::Duration;

use chrono::Utc;
use connects_local::project::Project;
use connects_tests::schedule;
use connects_tests::stack::{Stack, fresh};
use connects_tests::typescript::Workshop;
use futures::future::join_all;

/// How often payments that are under way are settled.
const SETTLING: Duration = Duration::from_millis(500);

#[tokio::test]
async fn each_recipe_does_what_it_says() {
    let Some(workshop) = Workshop::open().await else {
        return;
    };
    let _turn = schedule::turn().await;
    let stack = Stack::deployed();
    let run = async |recipe: &String| {
        let account = fresh(recipe);
        let token = |scope: &str, accounts: &[&str]| stack.minter.token(scope, accounts);
        let given = [
            ("CONNECTS_URL", stack.url().to_owned()),
            ("CONNECTS_SERVICE_TOKEN", token("connects:service", &[])),
            ("CONNECTS_ADMIN_TOKEN", token("connects:admin", &[])),
            ("CONNECTS_USER_TOKEN", token("connects", &[&account])),
            ("CONNECTS_ACCOUNT", account),
        ];
        workshop.run(recipe, &given).await
    };
    // Nobody waits a quarter of an hour for the schedule.
    let settling = async {
        loop {
            stack.fire("purchase", &Utc::now().to_rfc3339()).await;
            tokio::time::sleep(SETTLING).await;
        }
    };
    let ended = tokio::select! {
        ended = join_all(workshop.recipes.iter().map(run)) => ended,
        () = settling => unreachable!("it goes on for ever"),
    };
    let failed: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_index_names_every_recipe() {
    let folder = Project::find().unwrap().recipes();
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let pages = std::fs::read_dir(folder).unwrap();
    let pages = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let recipes: Vec<String> = pages.filter(|page| page != "README.md").collect();
    assert_eq!(
        recipes.len(),
        index.lines().filter(|line| line.starts_with("| [")).count()
    );
    for page in recipes {
        assert!(index.contains(&format!("| [{page}]({page}) |")), "{page}");
    }
}
