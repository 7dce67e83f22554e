package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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

// localSize is that of a local file header without its name.
const localSize = 30

// unzip reads what zipFiles writes, and nothing else. The files stand one behind the
// other, so that they cannot be more than the archive; what else a header or the
// directory says is right if the files lead to the same bytes again.
func unzip(data []byte) (map[string][]byte, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("more than %d bytes", MaxSize)
	}
	files := map[string][]byte{}
	for rest := data; len(rest) >= 4 && binary.LittleEndian.Uint32(rest) == localMagic; {
		name, file, n, err := localFile(rest)
		switch {
		case err != nil:
			return nil, err
		case files[name] != nil:
			return nil, fmt.Errorf("%s is there twice", name)
		case len(files) == maxFiles:
			return nil, fmt.Errorf("more than %d files", maxFiles)
		}
		files[name], rest = file, rest[n:]
	}
	if len(files) == 0 {
		return nil, errors.New("not a zip archive with files in it")
	}
	if !bytes.Equal(zipFiles(files), data) {
		return nil, errors.New("the archive is not as iatp export writes it: it was packed by another program, or changed")
	}
	return files, nil
}

// localFile reads the file at the beginning of data, which has n bytes with its header.
// What it returns is a part of data.
func localFile(data []byte) (name string, file []byte, n int, err error) {
	if len(data) < localSize {
		return "", nil, 0, errors.New("it ends within a header")
	}
	le := binary.LittleEndian
	method, size := le.Uint16(data[8:]), le.Uint32(data[22:])
	begin := localSize + int(le.Uint16(data[26:])) + int(le.Uint16(data[28:]))
	if begin > len(data) {
		return "", nil, 0, errors.New("it ends within a header")
	}
	name = string(data[localSize : localSize+int(le.Uint16(data[26:]))])
	switch {
	case !names.MatchString(name):
		return "", nil, 0, fmt.Errorf("%q is not the name of a file in a bundle", name)
	case method != 0:
		return "", nil, 0, fmt.Errorf("%s is compressed", name)
	case size > maxFile:
		return "", nil, 0, fmt.Errorf("%s has more than %d bytes", name, maxFile)
	case int(size) > len(data)-begin:
		return "", nil, 0, fmt.Errorf("%s has fewer bytes than its header says", name)
	}
	n = begin + int(size)
	return name, data[begin:n:n], n, nil
}
