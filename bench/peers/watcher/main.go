// The controller of SnapWatcher as a user of controller-runtime would write it, for comparison in `make bench`.
//
// It watches labeled pods, and sends SnapHook one request for each pod that becomes Ready. It stores what it has done
// only in memory: a restart sends all requests again, and nothing in the cluster shows them.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	path     = "/kubelet/checkpoint"
	selector = "snap.weaversoft.io/snap=true"
	timeout  = 30 * time.Second
)

// podReconciler sends one request for each Ready pod.
type podReconciler struct {
	client  client.Client
	http    *http.Client
	address string
	// The address of the API server, which is a part of each request.
	apiServer string
	// The UIDs of the pods whose request succeeded.
	done sync.Map
}

func (r *podReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var pod corev1.Pod
	if err := r.client.Get(ctx, request.NamespacedName, &pod); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if _, isDone := r.done.Load(pod.UID); isDone || !isEligible(&pod) {
		return ctrl.Result{}, nil
	}
	deployment, err := r.deploymentOf(ctx, &pod)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.send(ctx, &pod); err != nil {
		return ctrl.Result{}, err
	}
	r.done.Store(pod.UID, struct{}{})
	ctrl.LoggerFrom(ctx).Info("SnapHook took a checkpoint", "deployment", deployment)
	return ctrl.Result{}, nil
}

// deploymentOf returns the name of the pod's Deployment, or "-".
func (r *podReconciler) deploymentOf(ctx context.Context, pod *corev1.Pod) (string, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return "-", nil
	}
	// Only the metadata are cached, which is cheaper than whole ReplicaSets.
	var replicaSet metav1.PartialObjectMetadata
	replicaSet.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}, &replicaSet); err != nil {
		return "", err
	}
	if owner := metav1.GetControllerOf(&replicaSet); owner != nil && owner.Kind == "Deployment" {
		return owner.Name, nil
	}
	return "-", nil
}

func (r *podReconciler) send(ctx context.Context, pod *corev1.Pod) error {
	body, err := json.Marshal(map[string]string{
		"pod_name":         pod.Name,
		"namespace":        pod.Namespace,
		"node_name":        pod.Spec.NodeName,
		"container_name":   pod.Spec.Containers[0].Name,
		"kube_api_address": r.apiServer,
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// The connection is used again only if the whole body was read.
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("SnapHook answered %s", response.Status)
	}
	return nil
}

// isEligible reports whether the pod is Ready and one of its containers has started.
func isEligible(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || !isReady(pod) {
		return false
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil && status.Started != nil && *status.Started {
			return true
		}
	}
	return false
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func run() error {
	address := flag.String("snap-back-api-url", "", "address of SnapHook")
	workers := flag.Int("workers", 1, "number of requests at once")
	// controller-runtime defines the flag --kubeconfig.
	flag.Parse()
	if *address == "" || *workers < 1 {
		return errors.New("--snap-back-api-url and a positive --workers are required")
	}
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme)); err != nil {
		return err
	}
	labeled, err := labels.Parse(selector)
	if err != nil {
		return err
	}
	configuration, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(configuration, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:   cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: {Label: labeled}}},
	})
	if err != nil {
		return err
	}
	reconciler := &podReconciler{
		client:    manager.GetClient(),
		http:      &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConnsPerHost: *workers}},
		address:   *address,
		apiServer: configuration.Host,
	}
	options := controller.Options{MaxConcurrentReconciles: *workers}
	err = ctrl.NewControllerManagedBy(manager).For(&corev1.Pod{}).WithOptions(options).Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}
