package bundle

// Zip packs any files, for tests that lie.
var Zip = zipFiles
