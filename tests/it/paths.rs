//! `longwire paths`: what it prints, and its exit codes.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn paths(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longwire")).arg("paths").args(arguments).output().unwrap()
}

/// What the command printed, asserting that it was done, with nothing on standard error.
fn printed(arguments: &[&str]) -> String {
    let output = paths(arguments);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_name_that_files_may_say_is_in_the_table_and_in_the_list_for_programs() {
    let list: Value = serde_json::from_str(&printed(&["--json"])).unwrap();
    let table = printed(&[]);
    for name in [
        "aws_alb",
        "aws_nlb",
        "aws_api_gateway",
        "aws_nat_gateway",
        "gcp_alb",
        "gcp_cloud_run",
        "gcp_cloud_nat",
        "azure_lb",
        "azure_app_service",
        "azure_front_door",
        "cloudflare",
        "heroku",
        "fly",
        "nginx",
        "ingress_nginx",
        "haproxy",
        "envoy",
        "istio",
        "traefik",
        "iis_arr",
        "f5",
        "kubernetes",
    ] {
        let rows = list.as_array().unwrap().iter().filter(|row| row["name"] == name).count();
        assert_eq!(rows, 1, "{name}");
        assert!(table.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is not in\n{table}");
    }
    assert!(list.as_array().unwrap().len() >= 40);
}

#[test]
fn a_name_chooses_an_entry_and_its_row() {
    let said = printed(&["heroku", "gcp_alb"]);
    assert!(said.starts_with("heroku: Heroku router\n  silence   55s\n"), "{said}");
    assert!(said.contains("\n\ngcp_alb: Google Cloud external Application Load Balancer\n"), "{said}");
    let list: Value = serde_json::from_str(&printed(&["heroku", "--json"])).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["idle_s"]), (1, &Value::from(55)));
}

#[test]
fn an_unknown_name_is_told_and_nothing_is_printed() {
    for arguments in [&["heroku", "hal9000"][..], &["hal9000", "--json"]] {
        let output = paths(arguments);
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "longwire: no preset is called \"hal9000\"; `longwire paths` lists them\n");
    }
    assert_eq!(paths(&["--json", "--markdown"]).status.code(), Some(2));
}

#[test]
fn the_page_of_the_paths_comes_from_the_command() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/paths.md");
    assert_eq!(printed(&["--markdown"]), fs_err::read_to_string(stored).unwrap());
}
