//! Codebooks: codes to vectors (the decoder) and vectors to the nearest codes (the encoder).
//!
//! Residual vector quantisation (SoundStream, arXiv 2107.03312), split as in Mimi: one semantic codebook and the acoustic ones each have
//! their own projection and both see the whole input. A codebook is stored as a sum and a count. This file may not know networks.

use candle_core::{Result, Tensor, bail};

use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::config::DecoderConfig;
use crate::qwen3_tts::weights::At;

/// Codes that nothing ever used have a count of nothing.
const LEAST_USAGE: f64 = 1e-5;

fn centroids(at: &At<'_>, sum: &str, size: usize, dim: usize) -> std::result::Result<Tensor, ModelError> {
    let usage = at.get("cluster_usage", size)?.maximum(LEAST_USAGE as f32)?.unsqueeze(1)?;
    Ok(at.get(sum, (size, dim))?.broadcast_div(&usage)?)
}

/// The decoder's side.
#[derive(Debug)]
pub(super) struct Dequantizer {
    /// The semantic codebooks first; each with its size x dim vectors.
    groups: [Group; 2],
}

#[derive(Debug)]
struct Group {
    books: Vec<Tensor>,
    /// outputs x dim.
    project: Tensor,
}

impl Dequantizer {
    pub(super) fn load(at: &At<'_>, config: &DecoderConfig) -> std::result::Result<Self, ModelError> {
        let (dim, outputs) = (config.codebook_dim / 2, config.codebook_dim);
        let group = |name: &str, books: usize| -> std::result::Result<Group, ModelError> {
            let at = at.at(name);
            let layers = at.at("vq.layers");
            let book = |index: usize| centroids(&layers.at(index).at("_codebook"), "embedding_sum", config.codebook_size, dim);
            Ok(Group {
                books: (0..books).map(book).collect::<std::result::Result<_, _>>()?,
                project: at.at("output_proj").get("weight", (outputs, dim, 1))?.squeeze(2)?,
            })
        };
        Ok(Self { groups: [group("rvq_first", 1)?, group("rvq_rest", config.num_quantizers - 1)?] })
    }

    /// Frames of codes to codebook_dim x frames. The codes are below the codebook's size.
    pub(super) fn decode(&self, frames: &[Vec<u32>]) -> Result<Tensor> {
        let [semantic, acoustic] = &self.groups;
        let first = semantic.decode(frames, 0)?;
        first + acoustic.decode(frames, semantic.books.len())?
    }
}

impl Group {
    /// The group's codes begin at `column` of each frame.
    fn decode(&self, frames: &[Vec<u32>], column: usize) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (book, column) in self.books.iter().zip(column..) {
            let codes: Vec<u32> = frames.iter().map(|frame| frame[column]).collect();
            let vectors = book.index_select(&Tensor::new(codes, book.device())?, 0)?;
            sum = Some(match sum {
                Some(sum) => (sum + vectors)?,
                None => vectors,
            });
        }
        match sum {
            Some(sum) => self.project.matmul(&sum.t()?),
            None => bail!("a group without codebooks"),
        }
    }
}

/// The encoder's side: one group of codebooks that refine each other.
#[derive(Debug)]
pub(super) struct Quantizer {
    /// dim x inputs; absent where the network is as wide as the codebooks.
    project: Option<Tensor>,
    /// For each codebook its size vectors of `dim` values.
    books: Vec<Vec<Vec<f32>>>,
}

/// Sizes of a [`Quantizer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct QuantizerConfig {
    pub books: usize,
    pub size: usize,
    pub dim: usize,
    pub inputs: usize,
}

impl Quantizer {
    pub(super) fn load(at: &At<'_>, config: QuantizerConfig) -> std::result::Result<Self, ModelError> {
        let input = at.at("input_proj");
        let project = input.has("weight").then(|| input.get("weight", (config.dim, config.inputs, 1))).transpose()?;
        let book = |index: usize| -> std::result::Result<_, ModelError> {
            Ok(centroids(&at.at("layers").at(index).at("codebook"), "embed_sum", config.size, config.dim)?.to_vec2::<f32>()?)
        };
        Ok(Self {
            project: project.map(|project| project.squeeze(2)).transpose()?,
            books: (0..config.books).map(book).collect::<std::result::Result<_, _>>()?,
        })
    }

    /// `x`: inputs x frames. Gives for each frame one code a codebook.
    pub(super) fn encode(&self, x: &Tensor) -> Result<Vec<Vec<u32>>> {
        let projected = self.project.as_ref().map_or_else(|| Ok(x.clone()), |project| project.matmul(x))?;
        let vectors = projected.t()?.contiguous()?.to_vec2::<f32>()?;
        Ok(vectors.into_iter().map(|vector| self.codes(vector)).collect())
    }

    fn codes(&self, mut rest: Vec<f32>) -> Vec<u32> {
        let mut codes = Vec::with_capacity(self.books.len());
        for book in &self.books {
            let code = nearest(book, &rest);
            for (rest, near) in rest.iter_mut().zip(&book[code]) {
                *rest -= near;
            }
            codes.push(code as u32);
        }
        codes
    }
}

/// The first of the nearest.
fn nearest(book: &[Vec<f32>], vector: &[f32]) -> usize {
    let mut best = (0, f32::INFINITY);
    for (at, entry) in book.iter().enumerate() {
        let distance = entry.iter().zip(vector).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best.0
}
