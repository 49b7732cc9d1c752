use strict;
use warnings;
use Test::More tests => 1;
use Own::Server;

is(Own::Server::line("here"), "hello from here\n");
