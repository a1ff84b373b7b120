use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_error_of_a_runtime_has_its_reason() {
    for (error, expected) in [
        ("rpc error: code = Unimplemented desc = unknown method CheckpointContainer", Reason::CheckpointUnsupported),
        (
            "rpc error: code = Unimplemented desc = method CheckpointContainer not implemented",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = checkpointing container \"5d39\" failed: service Checkpoint: not implemented",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = configured runtime does not support checkpoint/restore",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: running \"/usr/bin/runc\" failed: this \
             runc binary has not been compiled with checkpoint/restore support enabled (runc_nocriu)",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: Compiled without CRIU support. \
             Checkpointing not available.",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = CRIU binary not found or too old (<31600). Failed to checkpoint container \
             \"5d39\": failed to check for criu version: exec: \"criu\": executable file not found in $PATH",
            Reason::NodeNotPrepared,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container \"7bc2\": criu binary not found in shim path \
             or system PATH",
            Reason::NodeNotPrepared,
        ),
        (
            "rpc error: code = Unknown desc = CRIU binary not found or too old (<31600). Failed to checkpoint container \
             \"5d39\": checkpoint/restore requires at least CRIU 31600, current version is 31100",
            Reason::NodeNotPrepared,
        ),
        ("rpc error: code = Unknown desc = checkpoint/restore support not available", Reason::NodeNotPrepared),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: could not load `libcriu.so.2`: \
             `libcriu.so.2: cannot open shared object file`",
            Reason::NodeNotPrepared,
        ),
        (
            "rpc error: code = Unknown desc = checkpointing container \"5d39\" failed: runc did not terminate \
             successfully: exit status 1: criu failed: type NOTIFY errno 0 path= /run/containerd/criu-dump.log: unknown",
            Reason::CheckpointFailed,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: CRIU checkpointing failed -52.  \
             Please check CRIU logfile /var/lib/dump.log",
            Reason::CheckpointFailed,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: can't freeze: function not implemented",
            Reason::CheckpointFailed,
        ),
        (
            "rpc error: code = NotFound desc = checkpointing container \"5d39\" failed: /containerd.task.v2.Task/Checkpoint \
             is not supported: not found",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = NotFound desc = failed to checkpoint container \"5d39\": /containerd.task.v3.Task/Checkpoint \
             is not supported",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = InvalidArgument desc = failed to checkpoint container \"5d39\": \
             /containerd.task.v2.Task/Checkpoint does not exist: invalid argument",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = InvalidArgument desc = failed to checkpoint container \"5d39\": containerd.task.v3.Task \
             service does not exist: invalid argument",
            Reason::CheckpointUnsupported,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container \"5d39\": Checkpoint method: not implemented",
            Reason::CheckpointUnsupported,
        ),
        ("rpc error: code = Unknown desc = not implemented", Reason::CheckpointUnsupported),
        ("rpc error: code = Unknown desc = method CheckpointContainer not implemented", Reason::CheckpointUnsupported),
        (
            "rpc error: code = NotFound desc = an error occurred when try to find container \"5d39\": not found",
            Reason::CheckpointFailed,
        ),
        (
            "rpc error: code = Unknown desc = criu failed: Error (criu/sk-inet.c:191): inet: SO_REUSEPORT is not supported",
            Reason::CheckpointFailed,
        ),
        (
            "rpc error: code = Unknown desc = failed to checkpoint container 87ea: checkpointing not implemented for runtimeVM",
            Reason::CheckpointUnsupported,
        ),
        ("container app not found", Reason::CheckpointFailed),
        (
            "rpc error: code = Unknown desc = container \"5d39\" is in CONTAINER_EXITED state. only CONTAINER_RUNNING \
             containers can be checkpointed",
            Reason::CheckpointFailed,
        ),
        ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", Reason::NoResponse),
        ("rpc error: code = Canceled desc = context canceled", Reason::NoResponse),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", Reason::NoResponse),
        (
            "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix \
             /run/containerd/containerd.sock: connect: connection refused\"",
            Reason::Busy,
        ),
    ] {
        assert_eq!(reason(&format!("checkpointing of shop/web-0/app failed ({error})")), expected, "{error}");
    }
}

#[test]
fn a_sentence_that_says_that_checkpoints_are_not_supported_is_recognized() {
    for (error, expected) in [
        ("checkpointing not implemented for runtimePod", true),
        ("checkpoint is not supported by this runtime", true),
        ("Checkpoint/restore is currently not supported", true),
        ("checkpoint operation is unsupported", true),
        ("the runtime handler kata does not support checkpointing", true),
        ("runtime \"runsc\" doesn't support container checkpoints", true),
        ("this shim cannot provide checkpoints", true),
        ("unsupported operation: checkpoint", true),
        ("not implemented: Checkpoint", true),
        ("method Checkpoint() not implemented", true),
        ("the sandbox has no support for checkpointing", true),
        ("runtime without checkpoint support", true),
        ("checkpoint of containers with a terminal attached is not supported", false),
        ("failed to write the checkpoint: open /x: operation not supported", false),
        ("failed to write the checkpoint: operation not supported", false),
        ("checkpointing container \"5d39\" failed: mount type nfs is not supported", false),
        ("criu failed: checkpoint is not supported for this socket", false),
        ("cannot checkpoint: file system does not support rename", false),
    ] {
        let expected = if expected { Reason::CheckpointUnsupported } else { Reason::CheckpointFailed };
        let body = format!("checkpointing of shop/web-0/app failed (rpc error: code = Unknown desc = {error})");
        assert_eq!(reason(&body), expected, "{error}");
    }
}

#[test]
fn a_runtime_without_the_command_takes_no_checkpoints() {
    for (error, expected) in [
        ("error: unrecognized subcommand 'checkpoint'\n\nUsage: youki [OPTIONS] <COMMAND>", true),
        ("error: The subcommand 'checkpoint' wasn't recognized", true),
        ("unknown command checkpoint", true),
        ("unknown subcommand: checkpoint", true),
        ("No help topic for 'checkpoint'", true),
        ("No such command: checkpoint", true),
        ("unknown command \"checkpoint\" for \"runsc\"", true),
        ("invalid choice: 'checkpoint' (choose from 'create', 'start')", true),
        ("\"checkpoint\" is not a valid command", true),
        ("Command 'checkpoint' not found", true),
        ("checkpoint: command not found", true),
        ("Others(\"not supported\")", true),
        ("unknown command checkpoints-of-mine", false),
        ("checkpoint: tar: command not found", false),
        ("checkpoint hook failed: unknown command x", false),
        ("no checkpoint was taken", false),
    ] {
        let expected = if expected { Reason::CheckpointUnsupported } else { Reason::CheckpointFailed };
        for start in [
            "checkpointing container \"5d39\" failed: youki did not terminate successfully: exit status 2: ",
            "checkpointing container \"5d39\" failed: /opt/youki did not terminate successfully: exit status 2: ",
            "failed to checkpoint container 87ea: running \"/usr/bin/youki\" [\"checkpoint\" \"--file-locks\" \
             \"--image-path\" \"/var/lib/x/checkpoint\" \"87ea\"] failed: `/usr/bin/youki --root /run/youki checkpoint \
             87ea` failed: ",
        ] {
            let body = format!("checkpointing of a/b/c failed (rpc error: code = Unknown desc = {start}{error})");
            assert_eq!(reason(&body), expected, "{body}");
        }
    }
}

#[test]
fn a_name_that_a_container_chooses_is_no_phrase_of_the_runtime() {
    let crio = "failed to checkpoint container 87ea: running \"/usr/bin/runc\" [\"checkpoint\" \"--image-path\" \
                \"/var/lib/x/checkpoint\" \"87ea\"] failed: `/usr/bin/runc --root /run/runc checkpoint 87ea` failed: ";
    let line = "time=\"2026-01-01T00:00:00Z\" level=warning msg=";
    for name in [
        "/tmp/checkpoint/restore support not available",
        "/tmp/CRIU lacks support",
        "/tmp/` failed: CRIU binary not found",
        "/tmp/\" level=error msg=\"libcriu is too old",
        "/tmp/code = unavailable",
        "/tmp/code = Unimplemented",
        "/tmp/x: /containerd.task.v3.Task/Checkpoint libcriu is too old",
        "/running \"\" failed: unknown command checkpoint",
    ] {
        let log = format!("(00.067001) Error (criu/files-reg.c:1031): Can't dump ghost file {name} of 2097152 size");
        for error in [
            format!("{crio}{line}\"--- Quoting \\\"/x/dump.log\\\"\"\n{line}\"49:{log}\"\ncriu failed: type DUMP"),
            format!("{crio}{line}\"49:{log}\""),
            format!("crun did not terminate successfully: exit status 1: --- excerpt from CRIU log `x`\n{log}"),
            format!("failed to write file system changes of container 87ea: lstat {name}: no such file or directory"),
            format!("{crio}CRIU: failed adding external mount to `{name}`: Invalid argument"),
            format!("{crio}{line}\"open {}: not found\"", name.replace('"', "\\\"")),
            format!("{crio}mounting {name:?}: no"),
        ] {
            let body = format!("checkpointing of a/b/c failed (rpc error: code = Unknown desc = {error})");
            assert_eq!(reason(&body), Reason::CheckpointFailed, "{body}");
        }
    }
}

#[test]
fn an_error_that_cri_o_passes_on_keeps_its_reason() {
    let crio = "failed to checkpoint container 87ea: running \"/usr/bin/runc\" [\"checkpoint\" \"--image-path\" \
                \"/var/lib/x/checkpoint\" \"87ea\"] failed: `/usr/bin/runc --root /run/runc checkpoint 87ea` failed: ";
    let line = "time=\"2026-01-01T00:00:00Z\" level=error msg=";
    for (error, expected) in [
        (
            format!("{crio}{line}\"this runc binary has not been compiled with checkpoint/restore support enabled\""),
            Reason::CheckpointUnsupported,
        ),
        (
            format!(
                "{crio}{line}\"CRIU version check failed: exec: \\\"criu\\\": executable file not found in $PATH\""
            ),
            Reason::NodeNotPrepared,
        ),
        (
            format!("{crio}{line}\"criu lacks support for external network namespace during checkpointing process\""),
            Reason::NodeNotPrepared,
        ),
        (
            format!("{crio}could not load `libcriu.so.2`: `libcriu.so.2: cannot open shared object file`"),
            Reason::NodeNotPrepared,
        ),
        (format!("{crio}could not find symbol `criu_set_x` in `libcriu.so`"), Reason::NodeNotPrepared),
        (format!("{crio}CRIU: failed checking version: Not a directory"), Reason::NodeNotPrepared),
        (format!("{crio}CRIU version 31400 is below minimum required version 31500"), Reason::NodeNotPrepared),
        (
            "failed to checkpoint container 87ea: check for CRIU failed to check for criu version: exec: \"criu\": x"
                .to_owned(),
            Reason::NodeNotPrepared,
        ),
        (
            "failed to checkpoint container \"5d39\": criu support is disabled by configuration".to_owned(),
            Reason::NodeNotPrepared,
        ),
    ] {
        let body = format!("checkpointing of a/b/c failed (rpc error: code = Unknown desc = {error})");
        assert_eq!(reason(&body), expected, "{body}");
    }
}

#[test]
fn a_body_that_is_not_in_the_form_of_a_kubelet_is_no_error_of_a_runtime() {
    for (body, expected) in [
        ("", Reason::BackendError),
        ("criu binary not found", Reason::BackendError),
        ("Internal Server Error", Reason::BackendError),
        (
            "Authorization error (user=system:serviceaccount:snap:snapwatcher-kubelet, verb=create, resource=nodes, \
             subresource=checkpoint)",
            Reason::Unauthorized,
        ),
        ("checkpointing of shop/web-0/libcriu failed (container libcriu not found)", Reason::CheckpointFailed),
    ] {
        assert_eq!(reason(body), expected, "{body}");
    }
}
