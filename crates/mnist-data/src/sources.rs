//! The table of known data sets: a new one is one entry here.
//!
//! Digests are SHA-256 of the *unpacked* files, because every distributor packs anew. MNIST's are
//! those of `datasets/mnist/README.md`; Fashion-MNIST's were taken from Debian's package
//! `dataset-fashion-mnist` 0.0~git20200523.55506a9-1.

use crate::{
    error::{DataError, Result},
    manifest::Preparation,
};

/// Names of a set's four files, unpacked: training images and labels, test images and labels.
pub const FILE_NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// A known data set.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Name on the command line and of its directory.
    pub name: &'static str,
    /// What it is, in one line.
    pub title: &'static str,
    /// SHA-256 of the unpacked files, hexadecimal, in the order of [`FILE_NAMES`].
    pub sha256: [&'static str; 4],
    /// Name of each class; their number is the number of classes.
    pub class_names: &'static [&'static str],
    /// How a picture becomes an image as the set has them.
    pub preparation: Preparation,
    /// Directories (URLs that end in `/`) that hold `<file>.gz`, in the order to try them.
    pub mirrors: &'static [&'static str],
    /// Under what terms it may be used.
    pub licence: &'static str,
}

/// All known data sets.
pub const SOURCES: [Source; 2] = [
    Source {
        name: "mnist",
        title: "MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges)",
        sha256: [
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ],
        class_names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        preparation: Preparation::Digit,
        mirrors: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
        licence: "CC BY-SA 3.0",
    },
    Source {
        name: "fashion-mnist",
        title: "Fashion-MNIST: 70,000 photographs of clothes (Xiao, Rasul, Vollgraf; arXiv 1708.07747)",
        sha256: [
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ],
        class_names: &[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        preparation: Preparation::Middle,
        mirrors: &[
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ],
        licence: "MIT",
    },
];

impl Source {
    /// The known data set of this name.
    ///
    /// # Errors
    /// [`DataError::UnknownSet`] lists the names there are.
    ///
    /// ```
    /// use mnist_data::sources::Source;
    ///
    /// assert_eq!(Source::find("mnist")?.class_names.len(), 10);
    /// assert!(Source::find("minst").is_err());
    /// # Ok::<(), mnist_data::DataError>(())
    /// ```
    pub fn find(name: &str) -> Result<&'static Self> {
        SOURCES.iter().find(|source| source.name == name).ok_or_else(|| DataError::UnknownSet {
            name: name.to_owned(),
            known: SOURCES.map(|source| source.name).join(", "),
        })
    }
}
