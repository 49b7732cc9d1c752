<?php
require __DIR__ . '/../vendor/autoload.php';
$config = require __DIR__ . '/../config/app.php';
echo (new Own\Mail\Mailer())->line($config['who']), "\n";
