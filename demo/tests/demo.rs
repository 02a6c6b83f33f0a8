//! The demo as `make demo < /dev/null` runs it. It starts the operator's binary, which `cargo test --workspace` builds.

use std::process::{Command, Stdio};

#[test]
fn without_a_terminal_the_samples_become_ready_and_leave_nothing_behind() {
    let output = Command::new(env!("CARGO_BIN_EXE_amplify-demo"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    for said in ["All 5 are Ready", "nothing of them is left in AWS"] {
        assert!(out.contains(said), "{said:?} is missing in:\n{out}");
    }
    let api = "123456789012/eu-west-1/d1a2b3c4d5e6f7/staging/storefront";
    let counts = out.lines().find_map(|line| line.trim().strip_prefix(api));
    let counts: Vec<&str> = counts.unwrap_or_default().split_whitespace().collect();
    assert_eq!(
        counts,
        ["1", "1"],
        "creates of the API, until Ready and until gone, in:\n{out}"
    );
}
