//! The control plane of the measurements, and the pods on it.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use lab::objects::{deployment, pod};
use lab::{Cluster, Options, crd, create_ca_secret};
use snapwatcher_api::checkpoint::Checkpoint;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::api_server::ApiServer;
use super::namespace::NAMESPACE;
use super::pod_clock::PodClock;
use super::watchers::Programs;

const NODES: usize = 100;
/// How many objects are created at once, where no rate is set.
const CREATORS: usize = 16;
/// How long the control plane is observed without any pod, for the CPU time of its heartbeats.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// The limit of one wait for pods or requests: a second for each three of them, and no less than this.
const SHORTEST_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The deletion of 100,000 objects takes many minutes on a busy machine.
const CLEAR_LIMIT: Duration = Duration::from_secs(1800);
/// The API server is quiet if it uses fewer cores than this for so long, apart from its heartbeats.
const QUIET_CORES: f64 = 0.05;
const QUIET_SAMPLE: Duration = Duration::from_secs(5);

pub(crate) struct Testbed {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) api_server: ApiServer,
    pub(crate) programs: Programs,
}

impl Testbed {
    pub(crate) async fn start(programs: Programs) -> Result<Self, Box<dyn Error>> {
        let cluster = Cluster::start(Options { nodes: NODES, ..Options::from_environment()? }).await?;
        crd::install(cluster.access(), &programs.snapwatcher).await?;
        let client = cluster.client().await?;
        create_ca_secret(client.clone(), NAMESPACE).await?;
        let pid = cluster.api_server_pid().ok_or("the API server does not run")?;
        let api_server = ApiServer::idle_for(client.clone(), pid, IDLE_TIME).await?;
        Ok(Self { cluster, client, api_server, programs })
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn checkpoints(&self) -> Api<Checkpoint> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates a Deployment of labeled pods, which fake nodes make Ready.
    pub(crate) async fn create_deployment(&self, pods: usize) -> Result<(), Box<dyn Error>> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let wanted = deployment("burst").labelled().replicas(i32::try_from(pods)?).build();
        deployments.create(&PostParams::default(), &wanted).await?;
        Ok(())
    }

    /// Creates labeled pods at this rate; returns when the last one is created.
    pub(crate) async fn create_at_rate(&self, pods: usize, rate: u32) -> Result<(), Box<dyn Error>> {
        let (mut pace, mut created) = (interval(Duration::from_secs(1) / rate), JoinSet::new());
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..pods {
            pace.tick().await;
            let (api, wanted) = (self.pods(), pod(&format!("steady-{number}")).labelled().build());
            created.spawn(async move { api.create(&PostParams::default(), &wanted).await.map(drop) });
        }
        all_succeeded(created).await
    }

    /// Creates labeled pods of these numbers. They stay Pending, because no scheduler has the name in their spec.
    pub(crate) async fn create_pending(&self, numbers: std::ops::Range<usize>) -> Result<(), Box<dyn Error>> {
        let create = async |number: usize| {
            let wanted = pod(&format!("pending-{number}")).labelled();
            let wanted = wanted.spec(|spec| spec.scheduler_name = Some("none".to_owned())).build();
            self.pods().create(&PostParams::default(), &wanted).await.map(drop)
        };
        in_parallel(numbers, create).await
    }

    /// Waits until `clock` has seen this many Ready pods and, if `with_requests`, as many requests.
    pub(crate) async fn wait_for_pods(
        &mut self,
        clock: &mut PodClock,
        pods: usize,
        with_requests: bool,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + limit(pods);
        loop {
            let (ready, requests) = (clock.ready_count(), clock.request_count());
            if ready >= pods && (requests >= pods || !with_requests) {
                return Ok(());
            }
            clock.check()?;
            self.cluster.check_running()?;
            if Instant::now() > deadline {
                return Err(format!("after {:?}: {ready} Ready pods, {requests} requests", limit(pods)).into());
            }
            sleep(POLL).await;
        }
    }

    /// Waits until the control plane does no more than without any pod. After a burst it is busy for some time, and the next
    /// program would wait for it.
    pub(crate) async fn wait_until_quiet(&self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + CLEAR_LIMIT;
        loop {
            let before = self.api_server.read().await?;
            sleep(QUIET_SAMPLE).await;
            let busy = self.api_server.work_since(before).await?.cpu_seconds / QUIET_SAMPLE.as_secs_f64();
            if busy < QUIET_CORES {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("after {CLEAR_LIMIT:?}, the API server still uses {busy:.2} cores").into());
            }
        }
    }

    /// Deletes all pods and Checkpoints, and waits until none is left.
    pub(crate) async fn clear(&self) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + CLEAR_LIMIT;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (at_once, all) = (DeleteParams::default().grace_period(0), ListParams::default());
        deployments.delete_collection(&DeleteParams::background(), &all).await?;
        // The ReplicaSet creates pods until the garbage collector has deleted it.
        while !self.is_clear().await? {
            if Instant::now() > deadline {
                return Err(format!("pods were left after {CLEAR_LIMIT:?}").into());
            }
            unless_cut_off(self.pods().delete_collection(&at_once, &all).await)?;
            unless_cut_off(self.checkpoints().delete_collection(&at_once, &all).await)?;
            sleep(POLL * 10).await;
        }
        Ok(())
    }

    async fn is_clear(&self) -> Result<bool, Box<dyn Error>> {
        let one = ListParams::default().limit(1);
        let pods = self.pods().list_metadata(&one).await?;
        let checkpoints = self.checkpoints().list_metadata(&one).await?;
        Ok(pods.items.is_empty() && checkpoints.items.is_empty())
    }
}

/// An API server closes the connection of a deletion that takes longer than a minute, and has then deleted a part.
fn unless_cut_off<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Ok(_) | Err(kube::Error::Service(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Runs `work` for each number, some of them at once.
pub(crate) async fn in_parallel(
    numbers: std::ops::Range<usize>,
    work: impl AsyncFn(usize) -> kube::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let started = stream::iter(numbers).map(|number| work(number)).buffer_unordered(CREATORS);
    started.try_collect::<()>().await?;
    Ok(())
}

async fn all_succeeded(mut tasks: JoinSet<kube::Result<()>>) -> Result<(), Box<dyn Error>> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn limit(pods: usize) -> Duration {
    SHORTEST_LIMIT.max(Duration::from_secs(pods as u64 / 3))
}
