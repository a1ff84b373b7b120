//! What is secret goes to SnapHook and nowhere else.

use super::*;

#[tokio::test]
async fn the_token_is_read_for_each_attempt_and_never_shown() {
    let server = Server::start(Act::Echo).await;
    let file = file_with("first-token\n");
    let snaphook =
        SnapHook::new(SnapHookSettings { token_file: Some(file.path().to_owned()), ..settings(&server.url()) })
            .unwrap();
    for token in ["first-token", "second-token"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let outcome = snaphook.checkpoint(&request()).await;
        assert!(!words(&outcome).contains(token), "{outcome}");
        assert_eq!(outcome.as_str(), "BackendError");
        let request = server.requests().pop().unwrap();
        assert!(request.contains(&format!("\r\nauthorization: Bearer {token}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn without_a_usable_token_no_request_is_sent() {
    let server = Server::start(ok("{}")).await;
    let file = file_with(" \n");
    for (text, said) in
        [(Some(" \n"), "is empty"), (Some("two\nlines"), "holds no valid token"), (None, "could not be read")]
    {
        match text {
            Some(text) => std::fs::write(file.path(), text).unwrap(),
            None => std::fs::remove_file(file.path()).unwrap(),
        }
        let outcome =
            outcome(SnapHookSettings { token_file: Some(file.path().to_owned()), ..settings(&server.url()) }).await;
        assert_eq!(outcome.as_str(), "Unauthorized");
        assert!(words(&outcome).contains(said) && words(&outcome).contains("token file"), "{outcome}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn user_and_password_of_the_url_are_sent_and_not_shown() {
    let server = Server::start(Act::Echo).await;
    let outcome = outcome(settings(&server.url().replace("//", "//bob:hunter2@"))).await;
    assert!(server.requests()[0].contains("\r\nauthorization: Basic Ym9iOmh1bnRlcjI=\r\n"));
    assert!(!words(&outcome).contains("hunter2") && !words(&outcome).contains("Ym9iOmh1bnRlcjI"), "{outcome}");
}

#[tokio::test]
async fn the_values_of_a_pod_that_was_sent_are_not_shown() {
    let value = "opensesame now";
    let mut request = request();
    request.pod_detail = text(&json!({"metadata": {"name": "web-0"}, "spec": {"containers": [{
        "name": "app", "args": ["--mode=shop"], "env": [{"name": "GREETING", "value": value}, {"name": "PORT", "value": "8080"}],
    }]}}));
    let echo = format!(r#"{{"detail": "cannot parse {value} of port 8080"}}"#);
    let head = format!("HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: {}\r\n\r\n{echo}", echo.len());
    for act in [Act::Echo, Act::Answer(head.into())] {
        let server = Server::start(act).await;
        let settings = SnapHookSettings { contract: Contract::SnapapiPodSpec, ..settings(&server.url()) };
        let outcome = SnapHook::new(settings).unwrap().checkpoint(&request).await;
        assert!(!words(&outcome).contains("opensesame"), "{outcome}");
        assert!(words(&outcome).contains("8080") || words(&outcome).contains("POST /"), "{outcome}");
    }
}

#[tokio::test]
async fn a_password_of_the_url_is_not_shown_in_any_form() {
    let echo = "no access for p@ss/word, p%40ss%2Fword";
    let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{echo}", echo.len());
    let server = Server::start(Act::Answer(head.into())).await;
    let outcome = outcome(settings(&server.url().replace("//", "//bob:p%40ss%2Fword@"))).await;
    assert!(words(&outcome).ends_with("no access for [redacted], [redacted]"), "{outcome}");
}
