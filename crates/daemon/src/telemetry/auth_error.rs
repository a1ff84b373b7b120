//! What an error of kube about credentials may show. The program that a kubeconfig names for credentials gets secrets in its
//! variables and arguments, and prints a token: kube's errors show all of them.

use std::error::Error;

use kube::client::AuthError;

/// The text instead of the one of kube, if `error` is one that shows what that program gets or prints.
pub(super) fn safe_text(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<AuthError>()? {
        AuthError::AuthExecRun { cmd, out } => {
            let name = program(cmd).map(|name| format!(" `{name}`")).unwrap_or_default();
            Some(format!(
                "the program{name} that the kubeconfig names for credentials failed with {}. What it printed may hold a token and is \
                 not shown: run kubectl with this kubeconfig to see it",
                out.status
            ))
        }
        AuthError::AuthExecParse(_) => Some(
            "the program that the kubeconfig names for credentials printed no ExecCredential. What it printed may hold a token \
             and is not shown: run it to see it"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The file name of the program in a command as kube shows it: variables as `NAME="value"`, then the program and its arguments, all
/// in quotes. `None`: it has another form.
fn program(command: &str) -> Option<&str> {
    let mut rest = command;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            return quoted.get(..end_of_quoted(quoted)?)?.rsplit('/').next();
        }
        let (name, value) = rest.split_once("=\"")?;
        if name.contains([' ', '"']) {
            return None;
        }
        rest = value.get(end_of_quoted(value)? + 1..)?.trim_start();
    }
}

/// Where the text ends that began with a quote before it.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let is_end = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}
