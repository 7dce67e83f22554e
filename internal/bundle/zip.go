package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// Numbers of the zip format (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12, 4.3.16).
const (
	localMagic   = 0x04034b50
	centralMagic = 0x02014b50
	endMagic     = 0x06054b50
	zipVersion   = 10             // what it takes to unpack a stored file
	madeOnUnix   = 3<<8 | 20      // so that the mode below counts
	zipDate      = 1<<5 | 1       // 1 January 1980: the format has no "none"
	fileMode     = 0o100644 << 16 // rw-r--r--
)

// zipFiles writes the one spelling of an archive: names ascending, stored, no times.
func zipFiles(files map[string][]byte) []byte {
	var body, directory []byte
	list := slices.Sorted(maps.Keys(files))
	le := binary.LittleEndian
	for _, name := range list {
		data := files[name]
		common := le.AppendUint16(nil, zipVersion)
		common = le.AppendUint16(common, 0) // flags
		common = le.AppendUint16(common, 0) // stored
		common = le.AppendUint16(common, 0) // time
		common = le.AppendUint16(common, zipDate)
		common = le.AppendUint32(common, crc32.ChecksumIEEE(data))
		common = le.AppendUint32(common, uint32(len(data))) // compressed
		common = le.AppendUint32(common, uint32(len(data)))
		common = le.AppendUint16(common, uint16(len(name)))
		common = le.AppendUint16(common, 0) // extra

		directory = le.AppendUint32(directory, centralMagic)
		directory = le.AppendUint16(directory, madeOnUnix)
		directory = append(directory, common...)
		directory = append(directory, make([]byte, 6)...) // comment, disk, attributes
		directory = le.AppendUint32(directory, fileMode)
		directory = le.AppendUint32(directory, uint32(len(body)))
		directory = append(directory, name...)

		body = append(le.AppendUint32(body, localMagic), common...)
		body = append(append(body, name...), data...)
	}
	end := le.AppendUint32(nil, endMagic)
	end = append(end, 0, 0, 0, 0) // disks
	end = le.AppendUint16(end, uint16(len(list)))
	end = le.AppendUint16(end, uint16(len(list)))
	end = le.AppendUint32(end, uint32(len(directory)))
	end = le.AppendUint32(end, uint32(len(body)))
	end = append(end, 0, 0) // comment
	return append(append(body, directory...), end...)
}

// unzip reads what zipFiles writes, and nothing else. Whatever the reader of the
// library makes of an archive: it counts only if it leads to the same bytes again.
func unzip(data []byte) (map[string][]byte, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("more than %d bytes", MaxSize)
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("not a zip archive: %w", err)
	}
	if len(r.File) > maxFiles {
		return nil, fmt.Errorf("more than %d files", maxFiles)
	}
	files := make(map[string][]byte, len(r.File))
	for _, f := range r.File {
		switch {
		case !names.MatchString(f.Name):
			return nil, fmt.Errorf("%q is not the name of a file in a bundle", f.Name)
		case files[f.Name] != nil:
			return nil, fmt.Errorf("%s is there twice", f.Name)
		case f.Method != zip.Store:
			return nil, fmt.Errorf("%s is compressed", f.Name)
		case f.UncompressedSize64 > maxFile:
			return nil, fmt.Errorf("%s has more than %d bytes", f.Name, maxFile)
		}
		if files[f.Name], err = readStored(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if !bytes.Equal(zipFiles(files), data) {
		return nil, errors.New("the archive is not as iatp export writes it: it was packed by another program, or changed")
	}
	return files, nil
}

func readStored(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && uint64(len(data)) != f.UncompressedSize64 {
		err = errors.New("its length is not the one that it has in the directory")
	}
	return append([]byte{}, data...), err // not nil: the file is there
}
