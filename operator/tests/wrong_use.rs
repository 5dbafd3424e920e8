//! A wrong use of `baton-operator` is refused at once, in a message that names the thing and says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use baton_refusal::{FAILURE, Running, USAGE, assert_refused};

const SECRET: &str = "a-token-that-nobody-may-see";

/// The operator, with a kubeconfig of an API server that does not answer.
fn operator(folder: &Path, arguments: &[&str]) -> Command {
    let kubeconfig = folder.join("kubeconfig");
    let config = format!(
        "{{apiVersion: v1, kind: Config, current-context: x,
          clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:9'}}}}],
          users: [{{name: u, user: {{token: {SECRET}}}}}],
          contexts: [{{name: x, context: {{cluster: c, user: u}}}}]}}"
    );
    std::fs::write(&kubeconfig, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton-operator"));
    let variables = ["NAMESPACES", "LOG", "LOG_FORMAT", "ADMIN_ADDR"];
    for variable in variables {
        command.env_remove(format!("BATON_OPERATOR_{variable}"));
    }
    // Not in a pod, and not as whoever runs the test. Whoever debugs a test wants a backtrace; whoever runs the operator does not.
    command.env_remove("KUBERNETES_SERVICE_HOST").env("HOME", folder).env("RUST_BACKTRACE", "1");
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    command
}

#[test]
fn flags_and_variables_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let namespace = "63 lower-case letters";
    let long = "n".repeat(64);
    let flags: &[(&[&str], &[&str])] = &[
        (&["--nonsense"], &["--nonsense", "--help"]),
        (&["extra"], &["extra", "--help"]),
        (&["--namespace", "Apps"], &["'Apps'", "--namespace", namespace]),
        (&["--namespace", "a,,b"], &["--namespace", namespace]),
        (&["--namespace", "a_b"], &["'a_b'", namespace]),
        (&["--namespace", "-a"], &["-a", "--help"]),
        (&["--namespace=-a"], &["'-a'", namespace]),
        (&["--namespace", &long], &[&long, namespace]),
        (&["--admin-addr", "8080"], &["'8080'", "--admin-addr <IP:PORT>"]),
        (&["--admin-addr", "0.0.0.0:65536"], &["65536", "--admin-addr <IP:PORT>"]),
        (&["--log-format", "xml"], &["'xml'", "text, json"]),
    ];
    for (arguments, parts) in flags {
        assert_refused(&mut operator(folder.path(), arguments), USAGE, parts, &[SECRET]);
    }
    let variables: &[(&str, &str, &[&str])] = &[
        ("BATON_OPERATOR_NAMESPACES", "", &["--namespace", namespace]),
        ("BATON_OPERATOR_NAMESPACES", "a, b", &["' b'", namespace]),
        ("BATON_OPERATOR_LOG_FORMAT", "xml", &["'xml'", "text, json"]),
        ("BATON_OPERATOR_ADMIN_ADDR", "localhost:80", &["localhost:80", "--admin-addr <IP:PORT>"]),
    ];
    for (variable, value, parts) in variables {
        let mut command = operator(folder.path(), &[]);
        assert_refused(command.env(variable, value), USAGE, parts, &[SECRET]);
    }
}

#[test]
fn what_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let log = ["--log", "a=b=c"];
    let parts = ["--log", "'a=b=c'", "try `info`"];
    assert_refused(&mut operator(folder.path(), &log), FAILURE, &parts, &[SECRET]);

    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, format!("{SECRET}: [")).unwrap();
    let nowhere = folder.path().join("nowhere");
    for kubeconfig in [&garbage, &nowhere] {
        let mut command = operator(folder.path(), &[]);
        let name = kubeconfig.to_str().unwrap();
        let parts = ["no Kubernetes to talk to", "set KUBECONFIG", name];
        assert_refused(command.env("KUBECONFIG", kubeconfig), FAILURE, &parts, &[SECRET]);
    }
    let mut command = operator(folder.path(), &[]);
    let parts = ["no Kubernetes to talk to", "run in a pod"];
    assert_refused(command.env_remove("KUBECONFIG"), FAILURE, &parts, &[SECRET]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let parts = ["--admin-addr", &address, "in use", "choose another"];
    let mut command = operator(folder.path(), &["--admin-addr", &address]);
    assert_refused(&mut command, FAILURE, &parts, &[SECRET]);
}

/// Whoever notices that the address of the API server is wrong wants to end it.
#[test]
fn an_operator_whose_api_server_does_not_answer_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = operator(folder.path(), &["--admin-addr", "127.0.0.1:0"]);
    let running = Running::start(&mut command, &log);
    running.until_it_says("initial object list");
    let pid = rustix::process::Pid::from_child(running.child());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(running.end().success());
}
