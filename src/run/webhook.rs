//! The webhook: the HTTPS port, its certificates and their health checks. With `--webhook false` none of them exists, so that
//! the account needs no right on a Secret or a webhook configuration.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::shared::Shared;
use crate::config::{AdmissionArgs, CertificateArgs, FixedTimes};
use snapwatcher_admission::{AdmissionHandler, AdmissionMetrics, ClientRouter, ValidationMode, router};
use snapwatcher_certificates::{CertificateChecks, CertificateError, CertificateMetrics, Certificates};
use snapwatcher_daemon::admin::Gate;
use snapwatcher_daemon::listen::listen;
use snapwatcher_daemon::services::Services;
use snapwatcher_https::{HttpsMetrics, Limits};
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;

/// The HTTPS port, bound before anything is changed.
pub(super) struct WebhookPort {
    listener: TcpListener,
    /// The address of `listener` with the port that the system chose, if the flag has port 0.
    address: SocketAddr,
    limits: Limits,
    validation: ValidationMode,
}

impl WebhookPort {
    pub(super) fn bind(args: &AdmissionArgs, times: &FixedTimes) -> io::Result<Self> {
        let listener = listen(args.webhook_listen)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, limits: args.limits(times), validation: args.validation })
    }

    /// How long the port answers after the stop.
    pub(super) fn drain(&self) -> Duration {
        self.limits.drain
    }
}

/// The webhook before its services run.
pub(super) struct Webhook {
    port: WebhookPort,
    checks: CertificateChecks,
    certificates: Certificates,
}

impl Webhook {
    /// Reads certificates from files: wrong ones end the process before a service starts.
    pub(super) async fn new(
        port: WebhookPort,
        shared: &mut Shared,
        args: &CertificateArgs,
        events: OwnPodEvents,
    ) -> Result<Self, CertificateError> {
        // The order in which the health checks are listed.
        let checks = CertificateChecks {
            serving_certificate: shared.health.check("serving-certificate", Gate::Readiness),
            ca_bundle: shared.health.check("ca-bundle", Gate::Readiness),
            ca_trust: shared.health.check("ca-trust", Gate::Informational),
        };
        let metrics = CertificateMetrics::register(&mut shared.registry);
        let certificates = Certificates::new(args.settings(&shared.times), shared.cluster.clone(), metrics, events);
        certificates.check_files().await?;
        Ok(Self { port, checks, certificates })
    }

    /// Starts admission, the certificates and their checks.
    pub(super) fn start(self, services: &mut Services, shared: &mut Shared) {
        let Self { port: WebhookPort { listener, address, limits, validation }, checks, certificates } = self;
        let metrics = AdmissionMetrics::register(&mut shared.registry);
        let https_metrics = HttpsMetrics::register(&mut shared.registry);
        let webhook = router(AdmissionHandler::new(shared.timelines.clone(), metrics, validation));
        let (resolver, readiness) = (certificates.resolver(), certificates.readiness());
        services.start("admission", |stop| {
            snapwatcher_https::dedicated_thread::run(snapwatcher_https::serve(
                listener,
                move |client: SocketAddr| ClientRouter::new(webhook.clone(), client.ip()),
                resolver,
                limits,
                https_metrics,
                stop,
            ))
        });
        services.start("certificates", |stop| certificates.run(stop));
        services.start("readiness", |stop| readiness.run(address, checks, stop));
    }
}
