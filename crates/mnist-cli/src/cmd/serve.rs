//! `serve RUN...`: a page on which one draws digits and sees what models say of them and make, and the same as an
//! interface for programs.
//!
//! The models compute on the main thread, which the backend's pool of threads counts on; tokio answers on threads of
//! its own and hands them what there is to do.

mod api;
mod asks;
mod body;
mod gate;
mod gauges;
mod generate;
mod growing;
mod heat;
mod live;
mod models;
mod refusal;
mod texts;
mod work;

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_io_timeout::TimeoutStream;

use self::{
    api::Shared,
    asks::Ask,
    gauges::Gauges,
    models::{About, Loaded, Served},
};
use crate::{
    args::{Common, Serve, UsageError},
    device::{Compute, Job, Place},
    stop,
};

/// Connections that are open at the same time; others wait.
const CONNECTIONS: usize = 512;
/// Time in which a request's headers have to arrive, and after which a connection without one is closed.
const HEADER_TIME: Duration = Duration::from_secs(20);
/// Time in which a client has to read some of an answer.
const WRITE_TIME: Duration = Duration::from_secs(20);
/// Most bytes of a request's headers.
const MOST_HEADER: usize = 32 << 10;
/// Time for what is being answered when the server is to stop.
const LAST_TIME: Duration = Duration::from_secs(10);

/// Serves until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Serve, common: &Common) -> Result<ExitCode> {
    let runs: Vec<Served> =
        args.models.iter().map(|name| Served::find(name, &common.runs)).collect::<Result<_>>()?;
    let names: Vec<String> = runs.iter().map(Served::name).collect();
    if let Some(twice) = names.iter().enumerate().find_map(|(i, n)| names[..i].contains(n).then_some(n)) {
        return Err(UsageError(format!(
            "two of the runs are called {twice:?}; requests could not tell them apart"
        ))
        .into());
    }
    let address = SocketAddr::new(args.bind, args.port);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}; choose another --port or --bind"))?;
    Place::choose(common)?.run(Serving { runs: &runs, bind: args.bind, common, listener })
}

struct Serving<'a> {
    runs: &'a [Served],
    bind: IpAddr,
    common: &'a Common,
    listener: TcpListener,
}

impl Job for Serving<'_> {
    type Output = ExitCode;

    fn run<B: Compute>(self, main: &B::Device, _: &[B::Device]) -> Result<ExitCode> {
        let models: Vec<Loaded<'_, B>> =
            self.runs.iter().map(|served| Loaded::load(served, main)).collect::<Result<_>>()?;
        let about: Vec<About> = models.iter().map(Loaded::about).collect();
        let stop = stop::listen()?;
        let gauges = Arc::new(Gauges::new());
        let (asks, asked) = mpsc::channel::<Ask>(asks::WAITING + asks::ORDERED);
        let (stopping, is_stopping) = watch::channel(false);
        let [decoders, large, readers] = api::leaves();
        let shared = Arc::new(Shared {
            models: about,
            asks,
            gauges: gauges.clone(),
            runs: self.common.runs.clone(),
            loopback: self.bind.is_loopback(),
            stopping: is_stopping,
            decoders,
            large,
            readers,
            listeners: live::listeners(),
        });
        let listener = self.listener;
        let address = listener.local_addr()?;
        let answering = std::thread::Builder::new()
            .name("answers".into())
            .spawn(move || answer(listener, shared, &stop, &stopping))?;
        println!("http://{address}/");
        if !self.common.quiet {
            tell!(
                "serving {}; Ctrl-C ends it",
                self.runs.iter().map(Served::name).collect::<Vec<_>>().join(", ")
            );
        }
        work::work(&models, asked, &gauges);
        answering.join().map_err(|_| anyhow!("the thread that answers gave up"))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers on the listener until told to stop.
fn answer(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: &AtomicBool,
    stopping: &watch::Sender<bool>,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        let gauges = shared.gauges.clone();
        let service = TowerToHyperService::new(api::router(shared));
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !stop.load(Ordering::Relaxed) {
            let accepted = tokio::select! {
                accepted = async {
                    let leave = room.clone().acquire_owned().await;
                    (leave, listener.accept().await)
                } => accepted,
                _ = tick.tick() => continue,
            };
            let (Ok(leave), accepted) = accepted else { break };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, say: it may pass.
                    tracing::warn!("cannot take a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            stream.set_nodelay(true).ok();
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_TIME));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(MOST_HEADER)
                .serve_connection(TokioIo::new(Box::pin(stream)), service.clone());
            let connection = graceful.watch(connection);
            let open = gauges.connection();
            tokio::spawn(async move {
                // What goes wrong on a connection is its client's business.
                if let Err(error) = connection.await {
                    tracing::debug!("a connection ended: {error}");
                }
                drop((leave, open));
            });
        }
        drop(listener);
        stopping.send_replace(true);
        drop(service);
        tokio::time::timeout(LAST_TIME, graceful.shutdown()).await.ok();
        anyhow::Ok(())
    })?;
    // What still runs holds a way to the models, whose thread waits for the end of all of them.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // What a model still computes is waited for by nobody.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(2));
        std::process::exit(0);
    });
    Ok(())
}
