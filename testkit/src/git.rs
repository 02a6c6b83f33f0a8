//! A Git repository, served over HTTP by git's own server program, for the tools that fetch from Git.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command, task::JoinHandle};

/// The path of the repository under the server's folder.
const NAME: &str = "storefront";

/// A repository with the branch `main`, until dropped. Its work tree is a folder.
pub struct Git {
    dir: TempDir,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Git {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Git {
    /// Creates an empty repository and serves it.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let root = Arc::new(dir.path().to_owned());
        let routes = Router::new().fallback(serve).with_state(root);
        let serving = tokio::spawn(async move {
            let _never_ends = axum::serve(listener, routes).await;
        });
        let git = Self { dir, address, serving };
        fs::create_dir(git.folder()).expect("a folder");
        git.run(&["init", "--quiet", "--initial-branch=main"]).await;
        git
    }

    /// Returns the URL for a clone.
    pub fn url(&self) -> String {
        format!("http://{}/{NAME}", self.address)
    }

    /// Returns the folder of the work tree.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.folder().join(path);
        let parent = path.parent().expect("a folder");
        fs::create_dir_all(parent).expect("a folder");
        fs::write(&path, content).expect("a file");
    }

    /// Returns the content of a file of the work tree.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Replaces a text in a file of the work tree.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let content = self.read(path);
        assert!(content.contains(from), "{path} has no {from:?}: {content}");
        self.write(path, &content.replace(from, to));
    }

    /// Removes a file of the work tree.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.folder().join(path)).expect("a file");
    }

    /// Copies the files of a folder into a folder of the work tree.
    pub fn copy(&self, from: &Path, to: &str) {
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("a file").path();
            if path.is_file() {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let content = fs::read_to_string(&path).expect("a text");
                self.write(&format!("{to}/{name}"), &content);
            }
        }
    }

    /// Commits the work tree and returns the commit's hash.
    pub async fn commit(&self, subject: &str) -> String {
        self.run(&["add", "--all"]).await;
        self.run(&["commit", "--quiet", "--allow-empty", "--message", subject])
            .await;
        self.run(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    /// Takes back the last commit, by another commit, and returns that one's hash.
    pub async fn revert(&self) -> String {
        self.run(&["revert", "--no-edit", "HEAD"]).await;
        self.run(&["rev-parse", "HEAD"]).await.trim().to_owned()
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let mut git = git(self.dir.path());
        git.args(arguments).current_dir(self.folder());
        let Output { status, stdout, stderr } = git.output().await.expect("git runs");
        assert!(
            status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
        String::from_utf8_lossy(&stdout).into_owned()
    }
}

/// Returns a git that does not see the user's settings.
fn git(home: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Developer")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "developer@example.com")))
        .kill_on_drop(true);
    git
}

/// Answers a request with `git http-backend`, which is a CGI program.
async fn serve(State(root): State<Arc<PathBuf>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let value = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut backend = git(&root);
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root.as_os_str())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", value(&head.headers, "content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", value(&head.headers, "content-encoding"))
        .env("GIT_PROTOCOL", value(&head.headers, "git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut backend = backend.spawn().expect("git runs");
    let mut input = backend.stdin.take().expect("an input");
    // The program may answer without reading the request to its end.
    let _unread = input.write_all(&body).await;
    drop(input);
    let output = backend.wait_with_output().await.expect("git answers");
    response(&output.stdout)
}

/// Returns the response that a CGI program has written.
fn response(output: &[u8]) -> Response {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.expect("a CGI program writes headers and an empty line");
    let head = String::from_utf8_lossy(&output[..end]);
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = if name == "Status" {
            response.status(value.split(' ').next().unwrap_or_default())
        } else {
            response.header(name, value)
        };
    }
    let body = output[end + 4..].to_vec();
    response = response.header(header::CONTENT_LENGTH, body.len());
    response.body(Body::from(body)).expect("a response")
}
