// The mutating webhook of SnapWatcher as a user of controller-runtime would write it, for comparison in `make bench`.
//
// It decodes the whole Pod, changes it, and lets controller-runtime compute the patch. It implements the Handler
// interface, which is the faster of controller-runtime's two ways: WithDefaulter also copies the pod and computes a
// second patch.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	path                = "/mutate"
	snapLabel           = "snap.weaversoft.io/snap"
	mutatedLabel        = "snap.weaversoft.io/mutated"
	admissionAnnotation = "snap.weaversoft.io/admission"
	mirrorAnnotation    = "kubernetes.io/config.mirror"
)

// podLabeler adds the label and the annotation to pods that opted in.
type podLabeler struct {
	decoder admission.Decoder
}

func (l podLabeler) Handle(_ context.Context, request admission.Request) admission.Response {
	var pod corev1.Pod
	if err := l.decoder.Decode(request, &pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if !mutate(&pod, string(request.UID)) {
		return admission.Allowed("")
	}
	mutated, err := json.Marshal(&pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, mutated)
}

// mutate reports whether it changed the pod.
func mutate(pod *corev1.Pod, uid string) bool {
	_, isMirror := pod.Annotations[mirrorAnnotation]
	if pod.Labels[snapLabel] != "true" || isMirror {
		return false
	}
	changed := false
	if _, found := pod.Labels[mutatedLabel]; !found {
		pod.Labels[mutatedLabel] = "false"
		changed = true
	}
	if _, found := pod.Annotations[admissionAnnotation]; !found {
		if pod.Annotations == nil {
			pod.Annotations = make(map[string]string, 1)
		}
		pod.Annotations[admissionAnnotation] = uid
		changed = true
	}
	return changed
}

func serve() error {
	host := flag.String("host", "", "IP address to listen on")
	port := flag.Int("port", 0, "port to listen on")
	certificates := flag.String("cert-dir", "", "folder with tls.crt and tls.key")
	flag.Parse()
	if *host == "" || *port == 0 || *certificates == "" {
		return errors.New("--host, --port and --cert-dir are required")
	}
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{
		Host:    *host,
		Port:    *port,
		CertDir: *certificates,
		// As the other servers of the comparison: the API server speaks HTTP/1.1 to webhooks.
		TLSOpts: []func(*tls.Config){func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }},
	})
	server.Register(path, &webhook.Admission{Handler: podLabeler{decoder: admission.NewDecoder(scheme)}})
	return server.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}
