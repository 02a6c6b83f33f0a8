//! The Markdown files of the repository: their headings, links and blocks of code.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

pub(crate) struct Page {
    /// The path from the root of the repository.
    pub(crate) path: PathBuf,
    /// The anchors of its headings.
    pub(crate) headings: Vec<String>,
    pub(crate) links: Vec<String>,
    /// Language and text of each block.
    pub(crate) blocks: Vec<(String, String)>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all pages that are in the repository or not yet committed.
pub(crate) fn pages() -> Vec<Page> {
    let output = Command::new("git")
        // Allows a clone that belongs to another user.
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.md",
        ])
        .current_dir(root())
        .output()
        .expect("git, which says what belongs to the repository");
    let listed = String::from_utf8(output.stdout).expect("names in UTF-8");
    let paths = listed
        .lines()
        .map(PathBuf::from)
        .filter(|path| root().join(path).exists());
    let pages: Vec<_> = paths.map(Page::read).collect();
    assert!(
        pages.iter().any(|page| page.path == Path::new("README.md")),
        "no pages are found"
    );
    pages
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).expect("a readable page");
        let mut page = Self {
            path,
            headings: Vec::new(),
            links: Vec::new(),
            blocks: Vec::new(),
        };
        let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = slug(&heading.take().unwrap_or_default());
                    let same = page.headings.iter().filter(|known| **known == anchor).count();
                    page.headings
                        .push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    block = Some((language.into_string(), String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, code)) = &mut block {
                        *code += &text;
                    } else if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// Resolves a path that is relative to this page into one from the root of the repository.
    pub(crate) fn beside(&self, path: &str) -> PathBuf {
        let mut target = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        for component in Path::new(path).components() {
            match component {
                Component::ParentDir => {
                    target.pop();
                }
                Component::Normal(name) => target.push(name),
                _ => {}
            }
        }
        target
    }

    /// Returns the commands of its `sh` blocks, each on one line.
    pub(crate) fn commands(&self) -> Vec<String> {
        let shell = self.blocks.iter().filter(|(language, _)| language == "sh");
        shell
            .flat_map(|(_, text)| {
                let text = text.replace("\\\n", " ");
                text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
            })
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }
}

/// Returns GitHub's anchor of a heading.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
