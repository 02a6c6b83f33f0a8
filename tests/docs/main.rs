//! The documentation is correct: links lead somewhere, commands are valid, and a real API server accepts the manifests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod commands;
mod manifests;
mod pages;

use pages::{Page, pages};

/// Fails with all errors, not only the first.
#[track_caller]
fn nothing_is_wrong(found: &[String]) {
    assert!(found.is_empty(), "\n  {}", found.join("\n  "));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let heading = |page: &Page, anchor: &str| page.headings.iter().any(|heading| heading == anchor);
    let mut wrong = Vec::new();
    for page in &pages {
        for link in page
            .links
            .iter()
            .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                page.beside(path)
            };
            if !pages::root().join(&target).exists() {
                wrong.push(format!("{}: no file for {link}", page.path.display()));
            } else if !anchor.is_empty() {
                let found = pages.iter().find(|page| page.path == target);
                if !found.is_some_and(|page| heading(page, anchor)) {
                    wrong.push(format!("{}: no heading for {link}", page.path.display()));
                }
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let pages = pages();
    let mut reached = vec![std::path::PathBuf::from("README.md")];
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let Some(page) = pages.iter().find(|page| page.path == path) else {
            continue;
        };
        for link in &page.links {
            let target = page.beside(link.split('#').next().unwrap_or_default());
            if pages.iter().any(|page| page.path == target) && !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    let lost: Vec<_> = pages
        .iter()
        .filter(|page| page.path.starts_with("docs") && !reached.contains(&page.path))
        .map(|page| format!("nothing leads to {}", page.path.display()))
        .collect();
    nothing_is_wrong(&lost);
}

#[test]
fn every_reason_has_a_section_in_the_operations_page() {
    use amplify_operator::api::conditions::Reason;
    let pages = pages();
    let page = pages.iter().find(|page| page.path.ends_with("docs/operations.md"));
    let headings = &page.expect("docs/operations.md").headings;
    let missing: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| reason.name())
        .filter(|name| !headings.contains(&name.to_lowercase()))
        .map(|name| format!("no section for the reason {name}"))
        .collect();
    nothing_is_wrong(&missing);
}

#[tokio::test]
async fn every_command_is_understood_by_the_program_that_it_names() {
    let mut wrong = Vec::new();
    for page in pages() {
        for command in page.commands() {
            if let Err(error) = commands::check(&command).await {
                wrong.push(format!("{}: {command}\n      {error:#}", page.path.display()));
            }
        }
    }
    nothing_is_wrong(&wrong);
}

#[tokio::test]
async fn every_manifest_is_taken_by_a_real_api_server() {
    nothing_is_wrong(&manifests::refused(&pages()).await.expect("a dev cluster"));
}
