//! Weights as PyTorch writes them; small, and without PyTorch.

use crate::zip_of;

/// A tensor of a state dictionary.
#[derive(Clone, Copy, Debug)]
pub struct TorchTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// The class of its storage, such as `FloatStorage`.
    pub storage_class: &'a str,
    /// The number of its storage.
    pub storage: u32,
    /// How many elements the storage has.
    pub storage_elements: u32,
    /// Its first element in the storage.
    pub offset: u32,
    /// Its shape.
    pub shape: &'a [u32],
}

/// The pickle of an ordered dictionary of these tensors, of protocol 2, as `torch.save` writes it.
pub fn torch_pickle(tensors: &[TorchTensor<'_>]) -> Vec<u8> {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec();
    let text = |pickle: &mut Vec<u8>, text: &str| {
        pickle.push(b'X');
        pickle.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        pickle.extend(text.as_bytes());
    };
    let number = |pickle: &mut Vec<u8>, number: u32| {
        pickle.push(b'J');
        pickle.extend(number.to_le_bytes());
    };
    for tensor in tensors {
        text(&mut pickle, tensor.name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend(format!("ctorch\n{}\n", tensor.storage_class).as_bytes());
        text(&mut pickle, &tensor.storage.to_string());
        text(&mut pickle, "cpu");
        number(&mut pickle, tensor.storage_elements);
        pickle.extend(b"tQ");
        number(&mut pickle, tensor.offset);
        pickle.push(b'(');
        tensor.shape.iter().for_each(|length| number(&mut pickle, *length));
        pickle.extend(b"t(");
        (0..tensor.shape.len()).for_each(|i| number(&mut pickle, tensor.shape[i + 1..].iter().product()));
        pickle.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    pickle
}

/// A PyTorch archive: a pickle, and the storages by number, each of so many bytes of zeros.
pub fn torch_archive(pickle: &[u8], storages: &[(u32, usize)]) -> Vec<u8> {
    let zeros: Vec<(String, Vec<u8>)> = storages.iter().map(|(number, size)| (format!("archive/data/{number}"), vec![0; *size])).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("archive/data.pkl", pickle), ("archive/byteorder", b"little")];
    entries.extend(zeros.iter().map(|(name, data)| (name.as_str(), data.as_slice())));
    entries.push(("archive/version", b"3\n"));
    zip_of(&entries)
}
