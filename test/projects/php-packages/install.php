<?php
// What composer does for packages of a path: copies them and writes a map of their classes.
[, $from, $to] = $argv;
$map = [];
$files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($from, FilesystemIterator::SKIP_DOTS));
foreach ($files as $file) {
    $target = $to . substr((string) $file, strlen($from));
    is_dir(dirname($target)) || mkdir(dirname($target), 0755, true);
    copy((string) $file, $target);
    if (preg_match('/^namespace (\S+);.*^final class (\w+)/ms', file_get_contents($target), $found)) {
        $map["$found[1]\\$found[2]"] = substr($target, strlen($to));
    }
}
ksort($map);
file_put_contents("$to/autoload.php", '<?php
spl_autoload_register(fn (string $class) => require __DIR__ . (' . var_export($map, true) . ')[$class]);
');
