//! Query parameters and ids in paths.

use connects_tests::stack::Stack;
use reqwest::Method;

use crate::world::{NOW, world};

#[tokio::test]
async fn bad_questions() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let ana = &world.ana;
    for (path, status, code) in [
        ("/history?days=8", 422, "invalid_field"),
        ("/history?days=0", 422, "invalid_field"),
        ("/history?days=-7", 422, "invalid_field"),
        (
            "/history?from=2052-02-30&to=2052-03-01",
            422,
            "invalid_field",
        ),
        (
            "/history?from=2052-02-03&to=2052-02-02",
            422,
            "invalid_field",
        ),
        ("/history?reference=nocolon", 422, "invalid_field"),
        ("/history?days=7&days=30", 422, "invalid_field"),
        ("/history?days=7&day=7", 422, "unknown_field"),
        ("/history?days=7&limit=0", 422, "below_minimum"),
        ("/history?days=7&limit=101", 422, "above_maximum"),
        ("/lots?limit=0", 422, "below_minimum"),
        ("/lots?limit=-1", 422, "below_minimum"),
        ("/lots?limit=101", 422, "above_maximum"),
        ("/lots?order=newest", 422, "unknown_field"),
        ("/lots?cursor=garbage", 400, "invalid_cursor"),
        ("/plan-changes/preview", 422, "invalid_field"),
        ("/plan-changes/preview?plan=", 422, "invalid_field"),
        ("/plan-changes/preview?plan=gold", 422, "invalid_field"),
        (
            "/plan-changes/preview?plan=plus&plan=plus",
            422,
            "invalid_field",
        ),
        (
            "/plan-changes/preview?plan=plus&effective=now",
            422,
            "unknown_field",
        ),
    ] {
        ana.get(path).at(NOW).await.refused(status, code);
    }
    for job in ["J-nowhere", "J-nowhere?verbose=1", "not%20an%20id"] {
        let path = format!("/proposals/{job}");
        let found = ana.get(&path).at(NOW).await;
        found.refused(404, "proposal_not_found");
        let withdrawn = ana.withdraw(job).at(NOW).await;
        withdrawn.refused(404, "proposal_not_found");
    }
    for name in ["find proposal", "withdraw"] {
        let route = world.route(name);
        let path = route.path.replace("{}", &ana.id) + "?verbose=1";
        let answer = stack.service(route.method.clone(), path).await;
        answer.refused(422, "unknown_field");
    }
    for (path, code) in [
        ("/v1/catalog?kind=robot", "invalid_field"),
        ("/v1/catalog?kind=", "invalid_field"),
        ("/v1/catalog?kind=agency&sort=price", "unknown_field"),
    ] {
        let answer = stack.service(Method::GET, path).await;
        answer.refused(422, code);
    }
    for (path, status, code) in [
        ("/v1/jobs/not%20an%20id", 404, "job_not_found"),
        ("/v1/jobs/J-nowhere?verbose=1", 404, "job_not_found"),
    ] {
        let answer = stack.service(Method::GET, path).await;
        answer.refused(status, code);
    }
    for path in [
        "/v1/return-policy?kind=agency",
        "/v1/availability-badge/price?currency=USD",
    ] {
        let answer = stack.request(Method::GET, path).await;
        answer.refused(422, "unknown_field");
    }
    // One without a badge is told of that, whatever else is asked.
    let bea = stack.agency("2052-01-10").await;
    for (holder, status, code) in [(ana, 422, "unknown_field"), (&bea, 404, "badge_not_found")] {
        for method in [Method::GET, Method::DELETE] {
            let path = format!("/v1/accounts/{}/availability-badge?verbose=1", holder.id);
            let asked = stack.user(&[&holder.id], method, path);
            asked.at(NOW).await.refused(status, code);
        }
    }
    for method in [Method::GET, Method::DELETE] {
        let path = format!("/v1/accounts/{}/low-balance?verbose=1", ana.id);
        let asked = stack.user(&[&ana.id], method, path);
        asked.at(NOW).await.refused(422, "unknown_field");
    }
    let job = world.route("job").path.clone();
    let answer = stack.service(Method::GET, format!("{job}?verbose=1")).await;
    answer.refused(422, "unknown_field");
    for path in ["/v1/promos/a", "/v1/promos/under_score"] {
        let answer = stack.admin(Method::GET, path).await;
        answer.refused(404, "promo_unknown");
    }
    for id in [
        "pu_1",
        "sp_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "pu_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let answer = ana.get(&format!("/purchases/{id}")).at(NOW).await;
        answer.refused(404, "purchase_not_found");
    }
}
