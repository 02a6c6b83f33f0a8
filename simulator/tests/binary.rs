//! The program: it prints everything that a client needs, and ends on a signal.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use amplify_simulator::RemoteControl;

#[tokio::test]
async fn the_program_prints_what_a_client_needs_and_ends_in_order() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_amplify-simulator"))
        .args(["--listen", "127.0.0.1:0", "--app", "d123=shop", "--job-duration", "0s"])
        .env("AMPLIFY_SIMULATOR_ACCESS_KEY", "AKIATEST:secret:111111111111")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines().take(5);
    let exports: HashMap<String, String> = lines
        .map(|line| {
            let line = line.unwrap();
            let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    assert_eq!(exports["AWS_ACCESS_KEY_ID"], "AKIATEST");
    assert_eq!(exports["AWS_SECRET_ACCESS_KEY"], "secret");
    assert_eq!(exports["AWS_REGION"], "eu-west-1");
    let apps = RemoteControl::new(&exports["AWS_ENDPOINT_URL"]).apps().await.unwrap();
    assert_eq!(
        (apps[0].account.as_str(), apps[0].name.as_str()),
        ("111111111111", "shop")
    );
    let killed = Command::new("kill").arg(program.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(program.wait().unwrap().success());
}
