//! Errors of kubelets, runtimes, CRIU and web servers, as they are printed. They hold no secret, and operators need them.

use super::*;

const ID: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn errors() -> Vec<String> {
    [
        // Kubelet.
        "checkpointing of shop/web-0/app failed (rpc error: code = Unknown desc = checkpointing container \"ID\" failed: runc did not terminate successfully: exit status 1: criu failed: type NOTIFY errno 0 log file: /run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/criu-dump.log: unknown)",
        "checkpointing of shop/web-0/app failed (rpc error: code = Unimplemented desc = method CheckpointContainer not implemented)",
        "Authorization error (user=system:serviceaccount:snap:snapwatcher-kubelet, verb=create, resource=nodes, subresource=checkpoint)",
        "Forbidden (user=system:anonymous, verb=create, resource=nodes, subresource(s)=[checkpoint proxy])",
        "unable to authenticate the request: [invalid bearer token, service account token has been invalidated]",
        "MountVolume.SetUp failed for volume \"kube-api-access-x7x2k\" : failed to fetch token: pod \"web-0\" not found",
        "MountVolume.SetUp failed for volume \"creds\" : secret \"web-credentials\" not found",
        "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
        "couldn't find key DB_PASSWORD in Secret shop/web-credentials",
        "container \"app\" in pod \"web-0\" is waiting to start: CreateContainerConfigError",
        "failed to generate container \"ID\" spec: failed to stat \"/var/lib/kubelet/pods\": no such file or directory",
        "serviceaccounts \"snapwatcher\" is forbidden: User \"system:serviceaccount:snap:x\" cannot create resource \"serviceaccounts/token\" in API group \"\" in the namespace \"snap\"",
        // containerd and CRI-O.
        "rpc error: code = NotFound desc = an error occurred when try to find container \"ID\": not found",
        "rpc error: code = Unknown desc = failed to pull and unpack image \"docker.io/shop/web:1.2\": failed to resolve reference \"docker.io/shop/web:1.2\": failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://auth.docker.io/token?scope=repository%3Ashop%2Fweb%3Apull&service=registry.docker.io: 401 Unauthorized",
        "failed to fetch anonymous token: Get \"https://auth.docker.io/token?scope=repository%3Ashop%2Fweb%3Apull&service=registry.docker.io\": dial tcp: lookup auth.docker.io: no such host",
        "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        "unauthorized: authentication required",
        "requested access to the resource is denied",
        "Error: initializing source docker://registry:5000/web:1: reading manifest 1 in registry:5000/web: manifest unknown",
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"app\": executable file not found in $PATH: unknown",
        "configured runtime does not support checkpoint/restore",
        "cgroup: crio-ID.scope and /kubepods.slice/cri-containerd-ID.scope",
        "container_id: containerd://ID",
        // CRIU.
        "(00.047253) Error (criu/tty.c:1861): tty: Unpaired slave 1",
        "(00.012345) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.",
        "(00.000873) Error (criu/files-reg.c:1815): Can't lookup mount=42 for fd=-3 path=/usr/lib/x86_64-linux-gnu/libc.so.6",
        "(00.004123) Error (compel/arch/x86/src/lib/infect.c:352): Can't obtain regs for thread 4312",
        "criu failed: type NOTIFY errno 0 path= /var/lib/containers/storage/overlay-containers/ID/userdata/dump.log",
        // Web servers and clients.
        "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"pod_name\"],\"msg\":\"Field required\",\"input\":null,\"url\":\"https://errors.pydantic.dev/2.5/v/missing\"}]}",
        "{\"detail\":\"Not authenticated\"}",
        "{\"detail\":\"Could not validate credentials\"}",
        "{\"detail\":\"Method Not Allowed\"}",
        "WWW-Authenticate: Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"",
        "Basic authentication failed: wrong username or password",
        "password authentication failed for user \"bob\"",
        "the password is required, and no token was given",
        "token has expired at 2026-01-01T00:00:00Z",
        "failed to negotiate an API version; using fallback",
        "x509: certificate is valid for 10.96.0.1, 10.0.0.7, not 10.0.0.8",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"kubernetes\")",
        "HTTPSConnectionPool(host='10.0.0.7', port=10250): Max retries exceeded with url: /checkpoint/shop/web-0/app (Caused by NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f3c2c1d5e80>: Failed to establish a new connection: [Errno 111] Connection refused'))",
        "subprocess.CalledProcessError: Command '['buildah', 'bud', '-f', '/tmp/Dockerfile', '-t', 'web:1', '.']' returned non-zero exit status 125.",
        "Error: writing blob: initiating layer upload to /v2/shop/web/blobs/uploads/ in registry:5000: received unexpected HTTP status: 500 Internal Server Error",
        "see 'systemctl status kubelet' and 'journalctl -u kubelet'",
        "mkdir -p /var/lib/kubelet/checkpoints: read-only file system",
        "docker run --user 1000:1000 -p 8080:80 -u 0:0 --tls-key /etc/tls.key web",
        "write /var/lib/kubelet/checkpoints/checkpoint-web-0_shop-app-2026-01-01T00:00:00Z.tar: no space left on device",
        "Get \"https://10.96.0.1:443/api/v1/namespaces/shop/pods/web-0?timeout=10s\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "failed to log in as system:serviceaccount:snap:snapwatcher-kubelet: access denied by policy",
        "access to docker.io/shop/web:1.2.3 with pod:web-0 was denied; authentication failed for 10.0.0.7:10250",
        "exec: env: bad option; -e needs an argument; --env has no value; unknown flag: --env-file=/run/x.env",
        "command [criu dump -t 4312 -o dump.log -D /run/x --shell-job -v4] returned 1",
        "mount -t overlay -o lowerdir=/a:/b,upperdir=/c,workdir=/d overlay /m: permission denied",
        "runc checkpoint --image-path /var/lib/x --work-path /run/x --tcp-established container ID: exit status 1",
        "{\"error\":\"criu failed\",\"path\":\"/api/token\",\"status\":500}",
        "{\"kind\":\"Status\",\"message\":\"pods \\\"web-token-0\\\" not found\",\"details\":{\"kind\":\"pods\",\"name\":\"web-token-0\"}}",
        "environment variables: none; invalid variables in the template; the form data is incomplete",
        "error: 100% of 3 & more <none> \\n at C:\\x64",
    ]
    .iter()
    .map(|text| text.replace("ID", ID))
    .collect()
}

#[test]
fn an_ordinary_error_stays_as_it_is() {
    let changed: Vec<_> =
        errors().into_iter().filter(|text| redacted(text) != *text).map(|text| redacted(&text)).collect();
    assert_eq!(changed, [""; 0]);
}

#[test]
fn an_id_that_follows_nothing_of_a_runtime_is_a_secret() {
    assert_eq!(redacted(&format!("got {ID}")), "got [redacted]");
}
