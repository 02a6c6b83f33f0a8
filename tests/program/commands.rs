//! The commands for people against an API server that answers as a test says.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Run, home, run};

type Answer = dyn Fn(&str, usize) -> (u16, Value) + Send + Sync;

/// An API server. Its requests are method and path, without the query.
struct Server {
    home: TempDir,
    kubeconfig: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one. `answer` gets a request and how many like it there were before.
    fn start(answer: impl Fn(&str, usize) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self::refusing_watches(None, answer)
    }

    /// Starts one that refuses the watches of these resources. Of others, it tells no changes.
    fn refusing_watches(
        refused: Option<&'static str>,
        answer: impl Fn(&str, usize) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answer): (_, Arc<Answer>) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (seen.clone(), answer.clone());
                // A client that has gone meanwhile is no matter.
                thread::spawn(move || drop(serve(stream, &seen, refused, &*answer)));
            }
        });
        let home = home();
        let kubeconfig = home.path().join("kubeconfig").display().to_string();
        let content = json!({
            "current-context": "a",
            "clusters": [{ "name": "a", "cluster": { "server": server } }],
            "contexts": [{ "name": "a", "context": { "cluster": "a", "namespace": "shop" } }],
        });
        fs::write(&kubeconfig, content.to_string()).expect("a file");
        Self {
            home,
            kubeconfig,
            requests,
        }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run(&self.home, &[("KUBECONFIG", &self.kubeconfig)], arguments)
    }

    fn count(&self, method: &str) -> usize {
        let requests = self.requests.lock().expect("no panic");
        requests.iter().filter(|request| request.starts_with(method)).count()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<String>>, refused: Option<&str>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = HashMap::new();
    let mut first = String::new();
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        lines.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = lines.get("content-length").and_then(|length| length.parse().ok());
    let mut sent = vec![0; length.unwrap_or_default()];
    reader.read_exact(&mut sent)?;
    let is_refused = refused.is_some_and(|kind| first.contains(&format!("/{kind}?")));
    if first.contains("watch=true") && !is_refused {
        // Nothing changes.
        loop {
            thread::park();
        }
    }
    let request: Vec<_> = first.split([' ', '?']).take(2).collect();
    let request = request.join(" ");
    let before = {
        let mut seen = seen.lock().expect("no panic");
        seen.push(request.clone());
        seen.iter().filter(|other| **other == request).count() - 1
    };
    let (status, mut body) = if first.contains("watch=true") {
        refusal(403, "no watch for you")
    } else {
        answer(&request, before)
    };
    if status == 200
        && request.starts_with("PATCH")
        && body[ALTERED].is_null()
        && let Ok(patch) = serde_json::from_slice(&sent)
    {
        merge(&mut body, &patch);
    }
    let (body, mut stream) = (body.to_string(), stream);
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The field of an answer to a change that says: this is stored, and not the change.
const ALTERED: &str = "altered";

/// Merges a patch into an object, as the API server does.
fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().map(|object| object.remove(name));
        } else {
            merge(&mut object[name], value);
        }
    }
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "x" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, body)
}

fn backend() -> Value {
    json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "AmplifyBackend",
        "metadata": { "name": "dev", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": { "appId": "d1", "backendEnvironmentName": "dev" },
    })
}

fn list(items: &[Value]) -> (u16, Value) {
    let body = json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "List",
        "metadata": { "resourceVersion": "1" }, "items": items,
    });
    (200, body)
}

/// Answers with one backend and nothing else.
fn ordinary(request: &str) -> (u16, Value) {
    match request.rsplit('/').next() {
        Some("dev") => (200, backend()),
        Some("amplifybackends") => list(&[backend()]),
        _ => list(&[]),
    }
}

#[test]
fn status_shows_what_may_be_read_and_names_the_rest() {
    let server = Server::start(|request, _| match request.rsplit('/').next() {
        Some("backendapis") => refusal(403, "not for \u{1b}[31myou"),
        _ => ordinary(request),
    });
    let Run { code, out, err } = server.run(&["status"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("AmplifyBackend/dev"), "{out}");
    assert!(
        err.starts_with("amplify-operator: not shown: BackendApi in the namespace shop: not for you"),
        "{err}"
    );
    // What the question does not need is not asked for.
    let Run { code, out, err } = server.run(&["status", "bsto"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            Some(0),
            "no BackendStorage in the namespace shop; -A looks in all namespaces\n",
            ""
        )
    );
}

#[test]
fn a_page_of_large_objects_is_asked_for_again_with_fewer() {
    let api = |name: &str, size: usize| {
        let mut api = backend();
        api["metadata"]["name"] = json!(name);
        api["spec"]["schema"] = json!("x".repeat(size));
        api
    };
    let server = Server::start(move |request, before| {
        if request.contains("/customresourcedefinitions/") {
            return refusal(403, "not for you");
        }
        if !request.ends_with("/backendapis") {
            return ordinary(request);
        }
        match before % 2 {
            0 => list(&[api("first", 1 << 20), api("second", 1 << 20), api("third", 1 << 20)]),
            _ => list(&[api("fewer", 1 << 20)]),
        }
    });
    for arguments in [&["status"][..], &["suspend", "--all"], &["doctor"]] {
        server.requests.lock().expect("no panic").clear();
        let Run { out, err, .. } = server.run(arguments);
        let asked = server.requests.lock().expect("no panic").clone();
        let asked = asked.iter().filter(|request| request.ends_with("/backendapis")).count();
        assert_eq!(asked, 2, "{arguments:?}: {out}{err}");
        assert!(!out.contains("third"), "{arguments:?}: {out}{err}");
    }
}

#[test]
fn a_command_that_is_proposed_leads_to_the_same_cluster() {
    let server = Server::start(|request, _| {
        if request.contains("/customresourcedefinitions/") || request.contains("/amplify-operator.dev/") {
            refusal(404, "unknown")
        } else {
            refusal(403, "not for you")
        }
    });
    let apply = "amplify-operator crd | kubectl apply --server-side --force-conflicts -f -";
    for (flags, wanted) in [(&[][..], "\n"), (&["--context", "a"], " --context a\n")] {
        for command in ["doctor", "status"] {
            let Run { code, out, err } = server.run(&[&[command], flags].concat());
            assert_eq!(code, Some(1), "{out}{err}");
            let said = format!("{out}{err}");
            assert!(
                said.contains(&format!("{apply}{wanted}")),
                "{command} {flags:?}: {said}"
            );
        }
    }
}

#[test]
fn a_change_that_the_api_server_has_stored_otherwise_is_no_success() {
    let of = |suspend: Value| {
        let mut stored = backend();
        stored["spec"]["suspend"] = suspend;
        stored
    };
    for (command, before, after, wanted) in [
        ("suspend", json!(null), json!(true), Some("suspended")),
        ("suspend", json!(null), json!(null), None),
        ("resume", json!(true), json!(null), Some("resumed")),
        ("resume", json!(true), json!(false), Some("resumed")),
        ("resume", json!(true), json!(true), None),
        ("reconcile", json!(null), json!(null), None),
    ] {
        let (before, after) = (of(before), of(after));
        let server = Server::start(move |request, _| {
            let is_change = request.starts_with("PATCH");
            let mut altered = after.clone();
            altered[ALTERED] = json!(true);
            (200, if is_change { altered } else { before.clone() })
        });
        let Run { code, out, err } = server.run(&[command, "ab/dev"]);
        let said = wanted.unwrap_or("FAILED: the API server accepted the change and stored another");
        assert_eq!(code, Some(i32::from(wanted.is_none())), "{command}: {out}{err}");
        assert!(
            out.starts_with(&format!("AmplifyBackend/dev in shop: {said}")),
            "{command}: {out}{err}"
        );
    }
}

#[test]
fn a_command_asks_again_where_the_api_server_is_too_busy() {
    let server = Server::start(|request, before| match before {
        0 => refusal(429, "too busy"),
        _ => ordinary(request),
    });
    let Run { code, out, err } = server.run(&["suspend", "--all"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "AmplifyBackend/dev in shop: suspended\n"),
        "{err}"
    );
    assert_eq!(server.count("PATCH"), 2);
}

#[test]
fn the_api_servers_words_do_not_reach_the_terminal_as_they_are() {
    let server = Server::start(|request, _| {
        if request.starts_with("PATCH") {
            refusal(422, "\u{1b}[31mno\u{1b}]0;title\u{7}\r\nnext")
        } else {
            ordinary(request)
        }
    });
    let Run { code, out, err } = server.run(&["suspend", "ab/dev"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        out.contains("FAILED: AmplifyBackend in the namespace shop: no"),
        "{out}"
    );
    assert!(!out.trim_end().contains(|c: char| c.is_control()), "{out:?}");
}

#[test]
fn the_longest_timeout_is_no_panic() {
    let server = Server::start(|request, _| ordinary(request.trim_end_matches("amplifybackends")));
    let Run { code, out, err } = server.run(&["reconcile", "ab/dev", "--wait", "--timeout", "2562047788015215h"]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(
        out,
        "AmplifyBackend/dev in shop: reconcile requested, and it has been deleted\n"
    );
}

#[test]
fn a_watch_says_what_keeps_it_from_news() {
    let server = Server::start(|request, before| match (request.rsplit('/').next(), before) {
        (Some("backendapis"), 0) => refusal(500, "broken"),
        _ => ordinary(request),
    });
    for form in ["text", "json"] {
        server.requests.lock().expect("no panic").clear();
        let mut watching = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
            .args(["status", "--watch", "-o", form])
            .env_clear()
            .env("KUBECONFIG", &server.kubeconfig)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut said = BufReader::new(watching.stderr.take().expect("a pipe")).lines();
        let first = said.next().expect("a line").expect("text");
        let second = said.next().expect("a line").expect("text");
        let mut shown = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
        let shown = shown.next().expect("a line").expect("text");
        watching.kill().expect("killed");
        watching.wait().expect("ended");
        assert!(first.contains("no news from the API server: BackendApi: "), "{first}");
        assert_eq!(first.matches("broken").count(), 1, "{first}");
        assert_eq!(
            second,
            "amplify-operator: BackendApi: there is news from the API server again"
        );
        assert!(shown.contains("shop"), "{shown}");
    }
}

#[test]
fn a_watch_in_json_names_a_kind_that_may_be_read_no_more() {
    let server = Server::refusing_watches(Some("amplifybackends"), |request, before| {
        match (request.ends_with("/amplifybackends"), before) {
            (true, 1..) => refusal(403, "no list for you"),
            _ => ordinary(request),
        }
    });
    let mut watching = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
        .args(["status", "--watch", "-o", "json"])
        .env_clear()
        .env("KUBECONFIG", &server.kubeconfig)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let shown = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let (send, found) = mpsc::channel();
    thread::spawn(move || {
        let pages = shown
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        for page in pages {
            if !page["notShown"][0].is_null() {
                let _ = send.send(page);
            }
        }
    });
    let page = found.recv_timeout(Duration::from_secs(20));
    watching.kill().expect("killed");
    watching.wait().expect("ended");
    let page = page.expect("a page that names the kind");
    let said = page["notShown"][0].as_str().expect("text");
    assert!(said.starts_with("AmplifyBackend in the namespace shop: "), "{page}");
    assert!(said.contains("; its resources are shown as they were at 20"), "{page}");
    assert_eq!(page["resources"][0]["name"], "dev", "{page}");
}

#[test]
fn a_word_that_is_no_text_is_refused_and_no_panic() {
    let program = env!("CARGO_BIN_EXE_amplify-operator");
    let output = Command::new(program)
        .arg(OsStr::from_bytes(b"\xff"))
        .output()
        .expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}
