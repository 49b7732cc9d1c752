package Own::Server;
use strict;
use warnings;
use IO::Socket::INET;

sub line { return "hello from $_[0]\n" }

sub serve {
    my ($port) = @_;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 16, ReuseAddr => 1) or die $!;
    while (my $client = $server->accept) {
        while (my $row = <$client>) { last if $row =~ /^\r?$/ }
        print $client "HTTP/1.0 200 OK\r\n\r\n", line("perl");
        close $client;
    }
}

1;
