//! One command's work: every vertex looked up, and run if it must be; each once, all that can be at the same time.
//!
//! A vertex goes through three questions. *What is it?* Its key, for which inputs need not have run, unless a part of
//! one is copied by content. *Is it here?* A record in the store, valid while its layers are. *Then run it:* inputs
//! first, then under a lock of its key, so that of several processes one runs it and the others find the record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::{join, join_all};
use gantry_llb::key::KeyWriter;
use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Edge, Outcome, ProgressEvent, Source, Vertex, pb};
use gantry_oci::{BoxFuture, Digest, Platform};
use gantry_store::LayerId;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::engine::{Engine, Job};
use crate::error::{EngineError, Fault};
use crate::exec::ExecStep;
use crate::file_step;
use crate::keys::Keyed;
use crate::new_layer::NewLayer;
use crate::output::{ClientDirectory, Output};
use crate::preflight::parse_source;
use crate::reads::reads;

/// Steps that run at once. Many wait (for the network, a disk, a `sleep`), so this is far above the number of cores;
/// the limit keeps a graph of thousands of stages from starting thousands of processes.
const MAX_RUNNING_STEPS: usize = 64;

/// Hears of every tree as soon as it is there, found or made. Must not block.
pub type TreeObserver = Arc<dyn Fn(Edge, &LayerChain) + Send + Sync>;

/// Solves definitions for one command. Definitions solved by one solver share their vertices.
pub struct Solver {
    pub(crate) engine: Engine,
    pub(crate) job: Job,
    cells: Mutex<HashMap<Digest, Arc<Cell>>>,
    running: Semaphore,
    /// Cancelled, that is to say set, when the first key could not be had without looking at files.
    pub(crate) work_ahead: CancellationToken,
    /// What failed first.
    failure: OnceLock<EngineError>,
    observer: Option<TreeObserver>,
}

impl std::fmt::Debug for Solver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver").field("engine", &self.engine).field("job", &self.job).finish_non_exhaustive()
    }
}

/// What this command knows of one vertex. Errors are kept too: a step that failed is not tried again for the next
/// platform that needs it.
#[derive(Default)]
pub(crate) struct Cell {
    pub(crate) keyed: OnceCell<Result<Arc<Keyed>, EngineError>>,
    outputs: OnceCell<Result<Arc<Vec<Output>>, EngineError>>,
    /// For a source on the network: what it turned out to be.
    pub(crate) identity: OnceLock<Digest>,
    /// For a source on the network: when it was last changed, in seconds since 1970, if its origin says so.
    pub(crate) time: OnceLock<Option<i64>>,
    reported: AtomicBool,
}

impl Solver {
    /// A solver for one command.
    pub fn new(engine: Engine, job: Job) -> Self {
        let running = Semaphore::new(MAX_RUNNING_STEPS);
        Self {
            engine,
            job,
            cells: Mutex::default(),
            running,
            work_ahead: CancellationToken::new(),
            failure: OnceLock::new(),
            observer: None,
        }
    }

    /// The same solver, telling this observer of trees while later steps still run.
    #[must_use]
    pub fn observed_by(self, observer: TreeObserver) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The engine that it works in.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The tree that the definition's root stands for.
    ///
    /// The error names the vertex that failed first. A failure cancels the job, and nothing of this definition runs any
    /// more when this returns.
    pub async fn solve(&self, definition: &Definition) -> Result<LayerChain, EngineError> {
        let Some(root) = definition.root() else { return Ok(LayerChain::default()) };
        let solved = CancellationToken::new();
        let root_outputs = async {
            let outputs = self.outputs(definition, root.vertex).await;
            solved.cancel();
            outputs
        };
        let (outputs, ()) = join(root_outputs, self.prepare_sources(definition, &solved)).await;
        let outputs = match outputs {
            Err(error) => return Err(self.cause(definition).unwrap_or(error)),
            Ok(outputs) => outputs,
        };
        match outputs.get(root.index as usize) {
            Some(output) => self.tree(output).await.map_err(|fault| fault.at(&root.vertex)),
            None => Err(Fault::Graph(format!("{root} does not exist")).at(&root.vertex)),
        }
    }

    /// When the definition's root, a source on the network, was last changed, in seconds since 1970, as far as its origin
    /// says.
    pub async fn source_time(&self, definition: &Definition) -> Result<Option<i64>, EngineError> {
        self.solve(definition).await?;
        let time = definition.root().and_then(|root| self.cell(&root.vertex).time.get().copied().flatten());
        Ok(time)
    }

    /// Makes what is read by content, and what copies write to, all at once, as soon as it is known that not everything is
    /// cached.
    ///
    /// A copy's key is its source's content, and a copy onto a copy has the first one's key in its own: looked at one
    /// after the other, independent stages would run one after the other. Their errors are reported by who needs them.
    async fn prepare_sources(&self, definition: &Definition, solved: &CancellationToken) {
        tokio::select! {
            () = self.work_ahead.cancelled() => {}
            () = solved.cancelled() => return,
        }
        let inputs = definition.vertices().iter().flat_map(|vertex| match &vertex.op.op {
            Some(Op::File(_)) => vertex.inputs.iter().collect(),
            Some(op) => reads(op).iter().filter_map(|read| vertex.inputs.get(read.input)).collect(),
            None => Vec::new(),
        });
        join_all(inputs.map(|input| self.outputs(definition, input.vertex))).await;
    }

    /// What made everything stop, if it was in this definition: it says more than that something was stopped.
    fn cause(&self, definition: &Definition) -> Option<EngineError> {
        let first = self.failure.get()?;
        first.vertex.filter(|vertex| definition.vertex(vertex).is_some())?;
        Some(first.clone())
    }

    /// Notes that a vertex failed, and stops everything else.
    pub(crate) fn failed(&self, vertex: &Vertex, fault: Fault) -> EngineError {
        let cancelled = matches!(fault, Fault::Cancelled);
        let outcome = if cancelled { Outcome::Cancelled } else { Outcome::Failed(fault.to_string()) };
        if cancelled && !self.cell(&vertex.digest).reported.load(Ordering::Relaxed) {
            return fault.at(&vertex.digest);
        }
        self.started(vertex);
        self.ended(vertex, outcome);
        let error = fault.at(&vertex.digest);
        if !cancelled {
            // Only the first counts; a later one may be its consequence.
            let _ = self.failure.set(error.clone());
            self.job.cancel.cancel();
        }
        error
    }

    pub(crate) fn cell(&self, vertex: &Digest) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(*vertex).or_default())
    }

    /// The outputs of a vertex, found or made.
    pub(crate) fn outputs<'a>(
        &'a self,
        definition: &'a Definition,
        digest: Digest,
    ) -> BoxFuture<'a, Result<Arc<Vec<Output>>, EngineError>> {
        Box::pin(async move {
            let cell = self.cell(&digest);
            let vertex = definition.vertex(&digest).expect("a definition is closed under its inputs");
            let make = || async {
                match self.make(definition, vertex).await {
                    Err(Failed::Here(fault)) => Err(self.failed(vertex, fault)),
                    Err(Failed::Below(error)) => Err(error),
                    Ok(outputs) => {
                        self.tell_observer(digest, &outputs);
                        Ok(Arc::new(outputs))
                    }
                }
            };
            cell.outputs.get_or_init(make).await.clone()
        })
    }

    fn tell_observer(&self, vertex: Digest, outputs: &[Output]) {
        let Some(observer) = &self.observer else { return };
        for (index, output) in (0..).zip(outputs) {
            if let Output::Tree(chain) = output {
                observer(Edge { vertex, index }, chain);
            }
        }
    }

    async fn make(&self, definition: &Definition, vertex: &Arc<Vertex>) -> Result<Vec<Output>, Failed> {
        if self.job.cancel.is_cancelled() {
            return Err(Failed::Here(Fault::Cancelled));
        }
        match vertex.op.op.as_ref() {
            Some(Op::Source(source)) => Ok(vec![self.source(vertex, source).await?]),
            Some(Op::Merge(merge)) => self.merge(definition, vertex, merge).await,
            Some(Op::Exec(_) | Op::File(_)) => self.find_or_run(definition, vertex).await,
            Some(Op::Build(_) | Op::Diff(_)) | None => {
                Err(Fault::Unsupported("an operation that the check before the build refuses".to_owned())
                    .into())
            }
        }
    }

    async fn source(&self, vertex: &Arc<Vertex>, source: &pb::SourceOp) -> Result<Output, Fault> {
        match parse_source(source)? {
            Source::Image(reference) => {
                self.started(vertex);
                let platform = platform_of(vertex)?;
                let image = self.engine.image(&reference, &platform);
                let (chain, _) = self.job.unless_cancelled(image).await?;
                // Nothing was fetched but metadata, if even that.
                self.ended(vertex, Outcome::Cached);
                Ok(Output::Tree(chain))
            }
            Source::Layout { reference, store } => {
                self.started(vertex);
                let layout = self.job.layouts.get(&store);
                let layout = layout.ok_or_else(|| Fault::Graph(format!("there is no layout `{store}`")))?;
                let platform = platform_of(vertex)?;
                let image = self.engine.layout_image(layout.as_ref(), &reference, &platform);
                let chain = self.job.unless_cancelled(image).await?;
                self.ended(vertex, Outcome::Cached);
                Ok(Output::Tree(chain))
            }
            Source::Local { name, filter } => {
                let directory = self.job.directories.get(&name);
                let directory =
                    directory.ok_or_else(|| Fault::Graph(format!("there is no local source `{name}`")))?;
                let directory = directory.clone();
                Ok(Output::Client(ClientDirectory { name, directory, filter, selections: Arc::default() }))
            }
            Source::Http(source) => Ok(self.arrived(vertex, self.http(vertex, &source).await?)),
            Source::Git(source) => Ok(self.arrived(vertex, self.git(vertex, &source).await?)),
        }
    }

    /// Layers are independent of what is below them, so a merge is their concatenation.
    async fn merge(
        &self,
        definition: &Definition,
        vertex: &Arc<Vertex>,
        merge: &pb::MergeOp,
    ) -> Result<Vec<Output>, Failed> {
        let inputs = self.inputs(definition, vertex).await?;
        let mut layers = Vec::new();
        for input in &merge.inputs {
            match usize::try_from(input.input).ok().and_then(|index| inputs.get(index)) {
                Some(output) => layers.extend(self.tree(output).await?.layers().iter().cloned()),
                None => return Err(Fault::Graph("a merge has an input that is not there".to_owned()).into()),
            }
        }
        self.report_cached(definition, vertex);
        Ok(vec![Output::Tree(LayerChain::new(layers))])
    }

    async fn find_or_run(
        &self,
        definition: &Definition,
        vertex: &Arc<Vertex>,
    ) -> Result<Vec<Output>, Failed> {
        let keyed = self.keyed(definition, vertex.digest).await?;
        let lookup = !vertex.metadata.ignore_cache;
        if lookup && let Some(outputs) = self.recorded(&keyed.id)? {
            self.report_cached(definition, vertex);
            return Ok(outputs);
        }
        let inputs = self.inputs(definition, vertex).await?;
        let _lock = self.job.lock(&self.engine.store, &keyed.id.hex()).await?;
        if lookup && let Some(outputs) = self.recorded(&keyed.id)? {
            self.report_cached(definition, vertex);
            return Ok(outputs);
        }
        let base = match base_input(vertex).and_then(|index| inputs.get(index)) {
            Some(base) => self.tree(base).await?,
            None => LayerChain::default(),
        };
        let _turn = self.running.acquire().await.map_err(|_| Fault::Cancelled)?;
        self.started(vertex);
        let outputs = match vertex.op.op.as_ref() {
            Some(Op::Exec(exec)) => {
                ExecStep { solver: self, vertex, exec, keyed: &keyed, base, inputs: &inputs }.run().await?
            }
            Some(Op::File(file)) => file_step::run(self, file, &keyed, (base, &inputs)).await?,
            _ => return Err(Fault::Graph("only steps are looked up".to_owned()).into()),
        };
        self.record(&keyed.id, &outputs)?;
        self.ended(vertex, Outcome::Done);
        Ok(outputs)
    }

    async fn inputs(&self, definition: &Definition, vertex: &Vertex) -> Result<Vec<Output>, Failed> {
        let wanted = vertex.inputs.iter().map(|edge| async move {
            let outputs = self.outputs(definition, edge.vertex).await.map_err(Failed::Below)?;
            let output = outputs.get(edge.index as usize).cloned();
            output.ok_or_else(|| Failed::Here(Fault::Graph(format!("{edge} does not exist"))))
        });
        all(wanted).await
    }

    /// The output as layers: a client's directory becomes one, where something is built on it.
    async fn tree(&self, output: &Output) -> Result<LayerChain, Fault> {
        let client = match output {
            Output::Tree(chain) => return Ok(chain.clone()),
            Output::Client(client) => client,
        };
        let selection = client.all(&self.engine.store).await?;
        let mut key = KeyWriter::new("gantry client tree 1");
        key.part(selection.content.as_bytes());
        let key = key.finish();
        if let Some([Output::Tree(chain)]) = self.recorded(&key)?.as_deref() {
            return Ok(chain.clone());
        }
        let (store, cancel) = (Arc::clone(&self.engine.store), self.job.cancel.clone());
        let chain = blocking(move || {
            let layer = NewLayer::start(&store, &LayerChain::default())?;
            selection.copy_to(&layer.upper(), &cancel)?;
            layer.keep(&store)
        })
        .await?;
        self.record(&key, &[Output::Tree(chain.clone())])?;
        Ok(chain)
    }

    pub(crate) fn recorded(&self, key: &Digest) -> Result<Option<Vec<Output>>, Fault> {
        let Some(text) = self.engine.store.result(key)? else { return Ok(None) };
        let Ok(record) = serde_json::from_str::<Record>(&text) else { return Ok(None) };
        let parse = |layers: &Vec<String>| {
            let layers =
                layers.iter().map(|layer| layer.parse::<LayerId>().ok()).collect::<Option<Vec<_>>>()?;
            layers.iter().all(|layer| self.is_available(layer)).then(|| Output::Tree(LayerChain::new(layers)))
        };
        Ok(record.outputs.iter().map(parse).collect())
    }

    /// A step's layer must be unpacked here; an image's can be fetched again.
    fn is_available(&self, layer: &LayerId) -> bool {
        self.engine.store.has_snapshot(layer)
            || (layer.is_of_image()
                && self.engine.store.layer_blob(layer, "").is_ok_and(|blob| blob.is_some()))
    }

    pub(crate) fn record(&self, key: &Digest, outputs: &[Output]) -> Result<(), Fault> {
        let layers = |output: &Output| match output {
            Output::Tree(chain) => chain.layers().iter().map(ToString::to_string).collect(),
            Output::Client(_) => Vec::new(),
        };
        let record = Record { outputs: outputs.iter().map(layers).collect() };
        let text = serde_json::to_string(&record).expect("a record is plain data");
        Ok(self.engine.store.put_result(&[*key], &text)?)
    }

    pub(crate) fn started(&self, vertex: &Vertex) {
        if self.cell(&vertex.digest).reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let platform = platform_of(vertex).ok().filter(|_| vertex.op.platform.is_some());
        self.job.progress.event(ProgressEvent::Started {
            vertex: vertex.digest,
            name: vertex.name().to_owned(),
            platform: platform.map(|platform| platform.to_string()),
        });
    }

    pub(crate) fn ended(&self, vertex: &Vertex, outcome: Outcome) {
        self.job.progress.event(ProgressEvent::Ended { vertex: vertex.digest, outcome });
    }

    /// Reports a vertex as cached, and all below it that nobody had to look at.
    fn report_cached(&self, definition: &Definition, vertex: &Vertex) {
        if self.cell(&vertex.digest).reported.load(Ordering::Relaxed) {
            return;
        }
        self.started(vertex);
        self.ended(vertex, Outcome::Cached);
        for edge in &vertex.inputs {
            let input = definition.vertex(&edge.vertex).expect("a definition is closed under its inputs");
            self.report_cached(definition, input);
        }
    }
}

/// Waits for all, also where one fails: who waits must not go away while a process runs for it. A failure stops the job,
/// so that the others end soon.
pub(crate) async fn all<T>(
    work: impl IntoIterator<Item = impl Future<Output = Result<T, Failed>>>,
) -> Result<Vec<T>, Failed> {
    join_all(work).await.into_iter().collect()
}

/// Where a fault belongs.
#[derive(Debug)]
pub(crate) enum Failed {
    /// To the vertex at hand.
    Here(Fault),
    /// To one below it, which has reported it.
    Below(EngineError),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

/// The text of a result record: per output, the names of its layers, bottom first.
#[derive(serde::Serialize, serde::Deserialize)]
struct Record {
    outputs: Vec<Vec<String>>,
}

/// Which input a step builds on.
pub(crate) fn base_input(vertex: &Vertex) -> Option<usize> {
    let input = match vertex.op.op.as_ref()? {
        Op::Exec(exec) => exec.mounts.iter().find(|mount| mount.dest == "/")?.input,
        Op::File(file) => file.actions.first()?.input,
        _ => return None,
    };
    usize::try_from(input).ok()
}

/// The platform that the vertex works for; the host's for one that has none.
pub(crate) fn platform_of(vertex: &Vertex) -> Result<Platform, Fault> {
    match &vertex.op.platform {
        None => Ok(Platform::host()),
        Some(platform) => Platform::new(&platform.os, &platform.architecture, &platform.variant)
            .map_err(|error| Fault::Graph(error.to_string())),
    }
}
